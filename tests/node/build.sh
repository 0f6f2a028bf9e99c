#!/usr/bin/env bash
# build.sh OUT: the test Kubernetes from pinned Go modules: one multi-call binary, CoreDNS, Helm, and the pause image.
# `tests/tools/install kubernetes` calls it. Cold about 7 minutes on 2 idle cores, 3 GB of build cache, 260 MB in OUT. Go 1.26.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: build.sh OUT}"
out=$(cd "$1" && pwd)
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false"
version=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' "$here/go/kubernetes/go.mod")
minor=${version#v1.}

# kubectl, kubelet and Helm compare versions, which only the linker writes.
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
  flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=test"
done
# Below the compiles of a developer: this takes every core for minutes.
build() { (cd "$here/go/$1" && nice -n 10 go build -trimpath -ldflags "$2" -o "$out/$1" "$3"); }
build kubernetes "$flags" .
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -sf kubernetes "$out/$name"
done
build coredns "-s -w" .
build helm "-s -w" helm.sh/helm/v4/cmd/helm

mkdir -p "$out/images"
gcc -static -Os -o "$out/images/pause" "$here/pause.c"
python3 "$here/mkimage.py" "$out/images/pause.tar" localhost/pause:1 '["/pause"]' "$out/images/pause:/pause"
