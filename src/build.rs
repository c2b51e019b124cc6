//! Templates are built into the binary; a new file among them must make it again.

fn main() {
    println!("cargo::rerun-if-changed=templates");
}
