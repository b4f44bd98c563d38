//! The gateway as a program.

use clap::Parser;
use example_gateway::{Failed, Settings, run};

#[tokio::main]
async fn main() -> Result<(), Failed> {
    run(Settings::parse()).await
}
