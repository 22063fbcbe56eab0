#!/usr/bin/env bash
# Generates the Python and TypeScript code from protos/. With --check: fails when the committed code differs.
set -euo pipefail
cd "$(dirname "$0")/.."
out=python
console=console/src/gen
if [ "${1:-}" = --check ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  out=$scratch/python
  console=$scratch/gen
fi
mkdir -p "$out" "$console"
rm -rf "$out/vidhub/v1" "$out/buf"
mapfile -t files < <(cd protos && find vidhub -name '*.proto' | sort)
python -m grpc_tools.protoc -Iprotos -Ithird_party/protovalidate \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
  --connectrpc_out="$out" --connectrpc_opt=protobuf=google "${files[@]}"
python -m grpc_tools.protoc -Ithird_party/protovalidate --python_out="$out" --pyi_out="$out" buf/validate/validate.proto
# A file without services has an empty servicer module.
find "$out" -name '*_pb2_grpc.py' -size 0 -delete
grep -L 'Servicer' "$out"/vidhub/v1/*_pb2_grpc.py | xargs -r rm
for package in vidhub/v1 buf buf/validate; do
  [ "$package" = vidhub/v1 ] && doc='"""Generated from protos/ by `make proto`."""' || doc='"""Generated from third_party/protovalidate by `make proto`."""'
  printf '%s\n' "$doc" >"$out/$package/__init__.py"
done
if [ -x console/node_modules/.bin/protoc-gen-es ]; then
  rm -rf "${console:?}"/*
  python -m grpc_tools.protoc -Iprotos -Ithird_party/protovalidate \
    --plugin=protoc-gen-es=console/node_modules/.bin/protoc-gen-es --es_out="$console" --es_opt=target=ts \
    "${files[@]}" buf/validate/validate.proto
fi
if [ "${1:-}" = --check ]; then
  diff -r -x __pycache__ "$out/vidhub/v1" python/vidhub/v1 && diff -r -x __pycache__ "$out/buf" python/buf && diff -r "$console" console/src/gen ||
    { echo "the generated code is not what protos/ say: run make proto and commit the result" >&2; exit 1; }
fi
