//! The preprocessings that need no file. None is right for every network of its kind: means and
//! deviations are those that a network was trained with.

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
        "resize = 256\n\
         crop = 224\n\
         scale = 1.0\n\
         mean = [127.5]\n\
         std = [127.5]\n",
    ),
    // Images of 32x32 are left as they are; any other is shrunk to that. ImageNet's numbers, as
    // networks derived from torchvision's have them; others have CIFAR-10's own (0.4914, 0.4822,
    // 0.4465; 0.2470, 0.2435, 0.2616).
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
