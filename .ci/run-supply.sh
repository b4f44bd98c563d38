#!/usr/bin/env bash
# The supply chain, and the purity of the core:
#
# - licenses, sources and bans of the whole graph (deny.toml) and of the core (.ci/deny-core.toml);
# - the core depends only on the crates that docs/verification.md lists;
# - the compiled core and its dependencies refer to no file, socket, clock, environment, process, thread,
#   terminal or random source. Control programs show that the check finds each of them.
#
#   run-supply.sh            every check
#   run-supply.sh install    cargo-deny alone
#
# Installs cargo-deny into $CARGO_TARGET_DIR when it is missing. Exit status 1 when a check fails.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
bad=0
complain() { echo "supply: $*" >&2; bad=1; }

# In the debug profile it is compiled in half the time, and runs for a second.
export PATH=$PATH:$target/cargo-deny/bin
command -v cargo-deny >/dev/null ||
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --root "$target/cargo-deny" cargo-deny --version 0.20.2 || exit 2
[ "${1:-}" != install ] || exit 0
cargo fetch --locked || exit 2
cargo deny --offline --locked --workspace check licenses bans sources || bad=1
cargo deny --offline --locked --config .ci/deny-core.toml check bans || bad=1

cargo tree --locked -p mcp-auth-machine -e normal,build --target all --depth 1 --prefix none --format '{p}' |
  sed 1d | cut -d ' ' -f 1 | sort >"$work/found"
sed -n '/^| Dependency of the core |/,/^$/ s/^| `\([^`]*\)` |.*/\1/p' docs/verification.md | sort >"$work/listed"
diff -u --label docs/verification.md --label Cargo.toml "$work/listed" "$work/found" ||
  complain "the dependencies of the core are not those of docs/verification.md"

# The undefined symbols of compiled code, except pure computation and memory: parts of std without side effects, and
# symbols that the compiler puts into every object. readelf, because nm takes embedded bitcode for a plugin's.
reaches() { # rlib
  readelf -sW --demangle "$1" 2>/dev/null | sed -nE 's/^ *[0-9]+: .* UND (.+)$/\1/p' | sort -u | sed -E \
    -e 's/std::(collections::hash|panic|panicking|sys::thread_local|thread::local)::/core::/g' \
    -e 's/std::(io::(error|impls|Write|IoSlice)|sys::io::error)\b/core/g' \
    -e 's/std::(ffi::os_str|os::unix::ffi::os_str|path::(Components?|PathBuf))\b/core/g' \
    -e 's/<std::path::Path>::(components|is_absolute)/core::path/' \
    -e 's/std::hash::random::(DefaultHasher|RandomState as )/core::/g' \
    -e 's/std::time::(SystemTime( as |>::(duration_since|from)\b)|SystemTimeError)/core::/g' |
    grep -E 'std::|^[^: ]+$' |
    grep -vE '^(mem(cpy|move|set|cmp)|bcmp|strlen|rust_eh_personality|_Unwind_Resume|__tls_get_addr|_GLOBAL_OFFSET_TABLE_|__u?(div|mod|mul)ti3|anon\.[0-9a-f.]+(\.llvm\.[0-9]+)?)$'
}

excused() { # crate
  case $1 in
    bytes) echo 'std::process::abort' ;;      # a reference count that would overflow
    http) echo 'std::(hash|sys)::random::' ;; # HeaderMap seeds its hash when it is flooded with collisions
    *) echo '^$' ;;
  esac
}

# Unoptimised objects contain all code, also small and unused functions.
# Only functions with type parameters that the core itself does not call stay outside.
everything=(-C opt-level=0 -C link-dead-code)

rlibs() { # cargo arguments: "crate file" for each crate that is linked
  cargo rustc --locked --lib --message-format json "$@" -- "${everything[@]}" |
    grep -oE '"[^"]+\.rlib"' | tr -d '"' >"$work/built" || return
  cargo tree --locked -e normal,no-proc-macro --prefix none --format '{lib}' "$@" | sort -u |
    while read -r name _; do
      grep -E "/lib$name(-[0-9a-f]+)?\.rlib$" "$work/built" | sed "s|^|$name |" ||
        { echo "supply: no compiled $name" >&2; return 1; }
    done
}

rlibs -p mcp-auth-machine >"$work/core" || exit 2
grep -q '^mcp_auth_machine ' "$work/core" || { echo "supply: the core was not built" >&2; exit 2; }
while read -r name file; do
  found=$(reaches "$file" | grep -vE "$(excused "$name")") && complain "$name reaches outside:"$'\n'"$found"
done <"$work/core"

# Controls: each kind of reach, alone in a program, and a crate that writes files.
rlibs -p mcp-auth-client --features file-store >"$work/store" || exit 2
found=$(reaches "$(sed -n 's/^mcp_auth_client //p' "$work/store")")
[[ $found == *std::fs::* ]] || complain "control: no file is seen in a store that writes files"
while IFS='|' read -r kind code; do
  echo "pub fn control() { let _ = $code; }" >"$work/control.rs"
  rustc --edition 2024 -A warnings --crate-type rlib "${everything[@]}" -o "$work/libcontrol.rlib" "$work/control.rs" || exit 2
  [ -n "$(reaches "$work/libcontrol.rlib")" ] || complain "control: $kind is not seen"
done <<'CONTROLS'
a file|std::fs::read("f")
a folder|std::fs::create_dir("f")
a connection|std::net::TcpStream::connect(("127.0.0.1", 1))
a datagram|std::net::UdpSocket::bind(("127.0.0.1", 1))
a name|std::net::ToSocketAddrs::to_socket_addrs(&("host", 1))
the clock|std::time::Instant::now()
the time of day|std::time::SystemTime::now()
time gone by|std::time::SystemTime::UNIX_EPOCH.elapsed()
the environment|std::env::var("V")
an argument|std::env::args()
a process|std::process::Command::new("c").spawn()
the end of the process|std::process::exit(0)
a thread|std::thread::spawn(|| ())
a nap|std::thread::sleep(std::time::Duration::ZERO)
input|std::io::stdin().lines()
output|println!()
diagnostics|eprintln!()
a random number|std::collections::HashMap::<u8, u8>::new()
a call of C|unsafe { unsafe extern "C" { fn getpid() -> i32; } getpid() }
CONTROLS

[ $bad -eq 0 ] || exit 1
echo "supply: ok, $(cut -d ' ' -f 1 "$work/core" | sort -u | wc -l) crates compiled, none reaches outside"
