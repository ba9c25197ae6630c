# Sourced by the scripts here: grua is the one in PATH, or the one that quickstart built.
command -v grua > /dev/null || PATH=$here/../../build/release/bin:$PATH
command -v grua > /dev/null || { echo "shop: grua is not built yet: run ./quickstart first" >&2; exit 1; }
