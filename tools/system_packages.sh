#!/usr/bin/env bash
# Installs the system packages of the tests: foreign cameras, clients, a browser, promtool, a clock that can be set.
set -euo pipefail
packages=(
  build-essential pkg-config ca-certificates
  ffmpeg chromium fonts-noto-cjk prometheus
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-rtsp gir1.2-gst-rtsp-server-1.0 gir1.2-gstreamer-1.0 python3-gi
  libgl1 libglib2.0-0 libxcb1 iproute2 nftables libfaketime
)
# The manifests of k8s/ are rendered by kubectl or kustomize; Debian's own kubectl is too old for components.
if ! command -v kubectl >/dev/null && ! command -v kustomize >/dev/null; then
  if ! command -v go >/dev/null; then
    echo "The tests need kubectl (1.27 or newer) or kustomize (5); with Go 1.22 or newer here, this script builds it." >&2
    exit 1
  fi
  root=$(cd "$(dirname "$0")/.." && pwd)
  GOBIN=$root/.venv/bin "$root/tools/step.sh" "kustomize" go install sigs.k8s.io/kustomize/kustomize/v5@v5.6.0
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "The tests need these packages (Debian names); install them with your package manager: ${missing[*]}" >&2
  exit 1
fi
run=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    run=(sudo)
  else
    echo "The tests need system packages, and this is neither root nor sudo. Run once, then make test again:" >&2
    echo "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
fi
here=$(dirname "$0")
"$here/step.sh" "Package lists" "${run[@]}" apt-get update
"$here/step.sh" "System packages: ${missing[*]}" "${run[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}"
