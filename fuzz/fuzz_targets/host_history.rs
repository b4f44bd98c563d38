#![no_main]

// The histories of the kit for hosts, on the machine alone.
mcp_auth_testing::fuzz_history!();
