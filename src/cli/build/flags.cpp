#include "cli/build/options.hpp"

#include <array>

namespace grua::cli {
namespace {

using enum FlagKind;

constexpr const char* inputs = "What is built";
constexpr const char* results = "What is made of it";
constexpr const char* caches = "What is known already";
constexpr const char* steps = "How RUN runs";
constexpr const char* shown = "What is shown";

constexpr std::array table{
    Flag{.name = "file",
         .letter = 'f',
         .value = "path",
         .help = "Dockerfile, PATH/Dockerfile if not said; - reads it from standard input",
         .group = inputs,
         .completes = Completes::files},
    Flag{.name = "target", .value = "stage", .help = "Build this stage, not the last one", .group = inputs},
    Flag{.name = "build-arg",
         .kind = list,
         .help = "Value of an ARG, as NAME=value; NAME alone takes it from the environment",
         .group = inputs},
    Flag{.name = "build-context",
         .kind = list,
         .value = "name=path",
         .help = "Further context: a folder, a URL, docker-image://IMAGE or oci-layout://FOLDER",
         .group = inputs},
    Flag{.name = "platform", .kind = list, .help = "Build for these platforms, as linux/amd64,linux/arm64", .group = inputs},
    Flag{.name = "pull", .kind = boolean, .help = "Look for newer images in the registries", .group = inputs},
    Flag{.name = "secret",
         .kind = list,
         .value = "id=name[,src=path]",
         .help = "Secret for RUN --mount=type=secret; env=NAME takes it from the environment",
         .group = inputs},
    Flag{.name = "ssh",
         .kind = list,
         .value = "default|id[=socket]",
         .help = "SSH agent for RUN --mount=type=ssh, $SSH_AUTH_SOCK if not said",
         .group = inputs},

    Flag{.name = "tag", .letter = 't', .kind = list, .value = "name[:tag]", .help = "Name of the image", .group = results},
    Flag{.name = "output",
         .letter = 'o',
         .kind = list,
         .value = "dest|type=…",
         .help = "What to write: type=image, local, tar, oci or docker, with dest=path",
         .group = results},
    Flag{.name = "push", .kind = boolean, .help = "Push the image to its registry", .group = results},
    Flag{.name = "load",
         .kind = boolean,
         .help = "Keep the image here, which is done anyway where nothing else is asked for",
         .group = results},
    Flag{.name = "reproducible",
         .value = "[=check]",
         .help = "The same files make the same image, whenever and wherever; check builds twice and says what differs",
         .group = results},
    Flag{.name = "label", .kind = list, .help = "Label of the image, as key=value", .group = results},
    Flag{.name = "annotation", .kind = list, .help = "Annotation, as key=value or index:key=value", .group = results},
    Flag{.name = "attest", .kind = list, .value = "type=…", .help = "Attestation, as type=sbom,generator=image", .group = results},
    Flag{.name = "provenance", .value = "bool|mode=…", .help = "Attestation of how it was built, as mode=max", .group = results},
    Flag{.name = "sbom", .value = "bool|generator=…", .help = "Attestation of what is in it", .group = results},
    Flag{.name = "iidfile", .value = "path", .help = "Write the image's ID to this file", .group = results, .completes = Completes::files},
    Flag{.name = "metadata-file",
         .value = "path",
         .help = "Write what is known about the result to this file, as JSON",
         .group = results,
         .completes = Completes::files},

    Flag{.name = "no-cache", .kind = boolean, .help = "Run everything anew", .group = caches},
    Flag{.name = "no-cache-filter", .kind = list, .value = "stage", .help = "Run these stages anew", .group = caches},
    Flag{.name = "cache-from",
         .kind = list,
         .value = "image|type=…",
         .help = "Use this cache, too: type=registry or local",
         .group = caches},
    Flag{.name = "cache-to",
         .kind = list,
         .value = "image|type=…",
         .help = "Write what is cached there: type=inline, registry or local",
         .group = caches},

    Flag{.name = "network",
         .value = "mode",
         .help = "Network of RUN: default, none or host",
         .group = steps,
         .fallback = "default",
         .completes = Completes::words,
         .words = "default none host"},
    Flag{.name = "add-host", .kind = list, .help = "Line for /etc/hosts, as name:address", .group = steps},
    Flag{.name = "allow",
         .kind = list,
         .value = "entitlement",
         .help = "What more RUN may ask for: network.host, security.insecure",
         .group = steps},
    Flag{.name = "cgroup-parent", .help = "Cgroup that RUN's is in", .group = steps},
    Flag{.name = "shm-size", .kind = bytes, .help = "Size of /dev/shm, as 64m", .group = steps},
    Flag{.name = "ulimit", .kind = list, .value = "ulimit", .help = "Limit, as nofile=1024:2048", .group = steps},

    Flag{.name = "progress",
         .value = "type",
         .help = "auto, plain, tty, rawjson or quiet",
         .group = shown,
         .fallback = "auto",
         .completes = Completes::words,
         .words = "auto plain tty rawjson quiet"},
    Flag{.name = "quiet", .letter = 'q', .kind = boolean, .help = "Print only the image's ID", .group = shown},
    Flag{.name = "call",
         .value = "method",
         .help = "Do not build: check, outline or targets tell about the Dockerfile",
         .group = shown,
         .fallback = "build",
         .completes = Completes::words,
         .words = "build check outline targets"},
    Flag{.name = "check", .kind = boolean, .help = "Same as --call=check", .group = shown},
    Flag{.name = "why",
         .value = "[=step]",
         .help = "Say at the end why steps were not taken from the cache: all, or this one (3, 2/3 or a part of it)",
         .group = shown},

    // There are no containers in between that could be left.
    Flag{.name = "rm", .kind = boolean, .help = "Accepted for old scripts", .fallback = "true", .hidden = true},
    Flag{.name = "force-rm", .kind = boolean, .help = "Accepted for old scripts", .hidden = true},
    Flag{.name = "print", .help = "Same as --call", .hidden = true, .same_as = "call"},
    Flag{.name = "builder", .help = "The engine's own is the only one: default", .hidden = true},
};

}  // namespace

std::span<const Flag> build_flags() { return table; }

}  // namespace grua::cli
