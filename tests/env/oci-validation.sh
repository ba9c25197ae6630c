#!/bin/bash
# oci-validation.sh - build the OCI runtime validation programs (runtime-tools).
#
#   oci-validation.sh [DIR]
#
# DIR (default: $TE_CACHE/oci-validation) gets the 58 programs in DIR/bin, and
# in DIR the runtimetest and rootfs that they look for in their working folder.
# Source, Go and libraries are Debian sid's packages, unpacked privately.
# Does nothing where DIR is complete.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
case ${1:-} in -h|--help) sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
dir=${1:-$TE_CACHE/oci-validation}
mkdir -p "$dir/bin" || exit 1
exec 8>"$dir/.lock"; flock 8
[ ! -e "$dir/.complete" ] || exit 0

te_unpack sid go-sid golang-go golang-github-opencontainers-runtime-tools-dev golang-github-google-uuid-dev \
  golang-github-mrunalp-fileutils-dev golang-gopkg-yaml.v2-dev golang-github-urfave-cli-dev || exit 1
go=$TE_CACHE/go-sid
goroot=$(ls -d "$go"/usr/lib/go-[0-9]* | tail -1)

# The source package alone has the programs; of it, the first tar is enough.
if [ ! -d "$dir/src/validation" ]; then
  mkdir -p "$TE_CACHE/apt/sid/src-lists/partial" "$dir/fetch"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(te_mirror) sid main" > "$TE_CACHE/apt/sid/src.list"
  s=(-o Dir::Etc::sourcelist="$TE_CACHE/apt/sid/src.list" -o Dir::State::lists="$TE_CACHE/apt/sid/src-lists")
  ( cd "$dir/fetch" && te_apt sid apt-get "${s[@]}" update &&
    te_apt sid apt-get "${s[@]}" source --download-only golang-github-opencontainers-runtime-tools ) >/dev/null 2>&1
  rm -rf "$dir/src.new"; mkdir "$dir/src.new"
  tar -xf "$dir"/fetch/*.orig.tar.* --strip-components=1 -C "$dir/src.new" || te_die "the source of runtime-tools could not be fetched"
  mv "$dir/src.new" "$dir/src"
  rm -rf "$dir/fetch"
fi

# Libraries and our source as one GOPATH. Debian has no package of the library that writes TAP: ours says as much as the
# programs ask it for.
path=$dir/gopath/src
rm -rf "$dir/gopath"; mkdir -p "$path/github.com/opencontainers" "$path/github.com/mndrix/tap-go"
cp -r "$go/usr/share/gocode/src/." "$path/"
rm -rf "$path/github.com/opencontainers/runtime-tools"
cp -r "$dir/src" "$path/github.com/opencontainers/runtime-tools"
# Sid's SELinux library has this function one folder higher than it was.
sed -i 's,"github.com/opencontainers/selinux/go-selinux/label",label "github.com/opencontainers/selinux/go-selinux",' \
  "$path/github.com/opencontainers/runtime-tools/cmd/runtimetest/main.go"
cat > "$path/github.com/mndrix/tap-go/tap.go" <<'GO'
// Package tap writes the Test Anything Protocol, version 13.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

type T struct {
	next *int
	todo bool
}

func New() *T {
	first := 1
	return &T{next: &first}
}

// Todo shares the count; what it fails is expected to.
func (t *T) Todo() *T { return &T{next: t.next, todo: true} }

func (t *T) Header(planned int) {
	fmt.Println("TAP version 13")
	if planned > 0 {
		fmt.Printf("1..%d\n", planned)
	}
}

func (t *T) Ok(passed bool, description string) {
	word, mark := "not ok", "-"
	if passed {
		word = "ok"
	}
	if t.todo {
		mark = "# TODO"
	}
	fmt.Printf("%s %d %s %s\n", word, *t.next, mark, description)
	*t.next++
}

func (t *T) Pass(description string) { t.Ok(true, description) }
func (t *T) Fail(description string) { t.Ok(false, description) }

func (t *T) Skip(count int, description string) {
	for range count {
		fmt.Printf("ok %d # SKIP %s\n", *t.next, description)
		*t.next++
	}
}

func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.next-1) }

func (t *T) Diagnostic(message string) {
	fmt.Println("# " + strings.ReplaceAll(message, "\n", "\n# "))
}

func (t *T) Diagnosticf(format string, args ...any) { t.Diagnostic(fmt.Sprintf(format, args...)) }

func (t *T) YAML(what any) error {
	text, err := json.MarshalIndent(what, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}
GO
build() { # OUTPUT PACKAGE
  env -C "$path/github.com/opencontainers/runtime-tools" GOROOT="$goroot" GOPATH="$dir/gopath" GO111MODULE=off GOCACHE="$dir/gocache" CGO_ENABLED=0 \
    GOTOOLCHAIN=local GOFLAGS= "$goroot/bin/go" build -o "$1" "$2" || te_die "cannot build $2"
}
build "$dir/runtimetest" ./cmd/runtimetest
for each in "$dir"/src/validation/*/; do
  name=$(basename "$each")
  [ "$name" = util ] || build "$dir/bin/$name" "./validation/$name"
done
cp "$dir"/src/rootfs-*.tar.gz "$dir/"
rm -rf "$dir/gopath" "$dir/gocache"
: > "$dir/.complete"
