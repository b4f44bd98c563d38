//! Compiles the requests to valgrind; the headers come with Debian's package `valgrind`.

fn main() {
    println!("cargo::rerun-if-changed=src/requests.c");
    cc::Build::new().file("src/requests.c").compile("requests");
}
