//! The preprocessings that need no file: what most published networks were trained behind.

/// Name and TOML text of each.
pub(super) const PRESETS: [(&str, &str); 3] = [
    // torchvision's and timm's evaluation on ImageNet.
    (
        "imagenet",
        "resize = 256\n\
         crop = 224\n\
         mean = [0.485, 0.456, 0.406]\n\
         std = [0.229, 0.224, 0.225]\n",
    ),
    // TensorFlow's -1 to 1.
    (
        "tf",
        "crop = 224\n\
         scale = 1.0\n\
         mean = [127.5]\n\
         std = [127.5]\n",
    ),
    // Images of 32x32 are left as they are; any other is shrunk to that.
    (
        "cifar10",
        "resize = 32\n\
         crop = 32\n\
         mean = [0.485, 0.456, 0.406]\n\
         std = [0.229, 0.224, 0.225]\n",
    ),
];

/// The TOML text of the preset `name`.
pub(super) fn preset(name: &str) -> Option<&'static str> {
    PRESETS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, text)| *text)
}
