//! Holds a pod's namespaces: does nothing, for as long as it is let.

fn main() {
    loop {
        std::thread::park();
    }
}
