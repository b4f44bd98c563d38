#!/usr/bin/env bash
# The packages as they would be published: each is packed, unpacked, and passes its own tests from there, with
# the other packages in place of those of the registry.
#
#   run-package.sh [package ...]     all of them unless given
#
# Exit status 1 when one cannot be packed, or fails.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
all=(mcp-auth-machine mcp-auth-server mcp-auth-testing mcp-auth-client mcp-auth mcp-auth-rmcp)
[ $# -gt 0 ] || set -- "${all[@]}"
features() { # package
  case $1 in
    mcp-auth-client) echo ureq,file-store,signer ;;
    *) echo ;;
  esac
}

# A dev-dependency without a version is left out of the package: the kit depends on these three itself.
kit() { # package
  case $1 in
    mcp-auth-machine) echo '"machine-tests"' ;;
    mcp-auth-client) echo '"reqwest", "servers", "ureq"' ;;
    mcp-auth-server) echo '"server-tests"' ;;
    *) return 1 ;;
  esac
}

# Changes that are not committed are packed too: the gate judges what is there.
cargo package --workspace --exclude example-gateway --no-verify --allow-dirty --locked --quiet --target-dir "$target/package-files" || exit 1
unpacked=$target/unpacked
rm -rf "$unpacked" && mkdir -p "$unpacked" || exit 2
patches=()
for package in "${all[@]}"; do
  file=("$target/package-files/package/$package"-[0-9]*.crate)
  tar -xzf "${file[0]}" -C "$unpacked" || exit 2
  folder=$unpacked/$(basename "${file[0]}" .crate)
  if kit "$package" >/dev/null; then
    printf '\n[dev-dependencies.mcp-auth-testing]\nversion = "*"\nfeatures = [%s]\n' "$(kit "$package")" >>"$folder/Cargo.toml"
  fi
  printf '\n[workspace]\n' >>"$folder/Cargo.toml"
  cp Cargo.lock "$folder/Cargo.lock"
  mv "$folder" "$unpacked/$package"
  patches+=(--config "patch.crates-io.$package.path=\"$unpacked/$package\"")
done

bad=0
for package in "$@"; do
  own=()
  for ((at = 0; at < ${#patches[@]}; at += 2)); do
    [[ ${patches[at + 1]} == "patch.crates-io.$package.path="* ]] || own+=("${patches[at]}" "${patches[at + 1]}")
  done
  (cd "$unpacked/$package" && CARGO_TARGET_DIR=$target/package cargo "${own[@]}" test --features "$(features "$package")") ||
    { echo "package: $package fails its own tests" >&2; bad=1; }
done
[ $bad -eq 0 ] || exit 1
echo "package: ok, $# of ${#all[@]} packages pass their tests"
