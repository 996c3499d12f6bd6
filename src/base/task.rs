//! Starting things that run beside us.

/// Starts a named OS thread; a panic in it aborts the process, so does failing to start it.
pub fn thread<F>(name: &'static str, run: F) -> std::thread::JoinHandle<()>
where
    F: FnOnce() + Send + 'static,
{
    struct Watch;
    impl Drop for Watch {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::process::abort();
            }
        }
    }
    let body = move || {
        let _watch = Watch;
        run();
    };
    match std::thread::Builder::new().name(name.to_owned()).spawn(body) {
        Ok(handle) => handle,
        Err(_) => std::process::abort(),
    }
}
