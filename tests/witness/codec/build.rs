//! Generates the codec from the schema, into the build directory.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sbe_gen::{GeneratorOptions, generate_to};

const SCHEMA: &str = "../../../src/wire/tidegate.xml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SCHEMA}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let generated = out.join("sbe");
    fs::create_dir_all(&generated)?;
    generate_to(&fs::read_to_string(Path::new(SCHEMA))?, &generated, &GeneratorOptions::default())?;
    // Modules of an included file are looked for by their whole path.
    let path = generated.join("mod.rs");
    fs::write(out.join("sbe.rs"), format!("#[path = {path:?}]\npub mod sbe;\n"))?;
    Ok(())
}
