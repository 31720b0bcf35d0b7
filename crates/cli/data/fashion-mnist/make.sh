#!/bin/sh
# Makes the four files of images and labels that `exbit demo` carries from the full data set:
#
#     ./make.sh FOLDER        # with the four IDX files, packed by gzip
set -eu
from=${1:?usage: make.sh FOLDER}
cd "$(dirname "$0")"

first() { # NAME, its new header, bytes of header and records together
    start=$(printf "$2" | wc -c)
    { printf "$2"; gzip -dc "$from/$1" 2>/dev/null | head -c "$3" | tail -c "+$((start + 1))"; } |
        gzip -9n >"$1"
}

# 512 of training (0x200), 2000 of test (0x7D0); images of 28 x 28.
first train-images-idx3-ubyte.gz '\0\0\010\003\0\0\002\000\0\0\0\034\0\0\0\034' $((16 + 512 * 784))
first train-labels-idx1-ubyte.gz '\0\0\010\001\0\0\002\000' $((8 + 512))
first t10k-images-idx3-ubyte.gz '\0\0\010\003\0\0\007\320\0\0\0\034\0\0\0\034' $((16 + 2000 * 784))
first t10k-labels-idx1-ubyte.gz '\0\0\010\001\0\0\007\320' $((8 + 2000))
