//! Takes the plotting library out of the crate that carries it, and compresses it once.
//!
//! The `plotly` crate embeds plotly.js (MIT) for the pages that it writes. The dashboard needs the
//! script alone, so the crate is a dependency of the build and none of the program.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    plotting::take();
}

mod plotting {
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    pub fn take() {
        let tags = plotly::Plot::offline_js_sources();
        let script = first_script(&tags).expect("the crate's page begins with a script");
        assert!(script.contains("plotly.js v3."), "the first script is not plotly.js 3");

        let directory = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
        let mut compressed = GzEncoder::new(Vec::new(), Compression::new(6));
        compressed.write_all(script.as_bytes()).expect("memory takes all");
        let compressed = compressed.finish().expect("memory takes all");
        fs::write(directory.join("plotly.js.gz"), compressed)
            .expect("the directory can be written");
    }

    /// What stands between the first script tag and its end. The script itself names no end tag, or no
    /// page could hold it.
    fn first_script(page: &str) -> Option<&str> {
        let (_, rest) = page.split_once("<script type=\"text/javascript\">")?;
        Some(rest.split_once("</script>")?.0)
    }
}
