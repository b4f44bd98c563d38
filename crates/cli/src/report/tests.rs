#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use super::*;

fn attacks() -> impl Iterator<Item = (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    fs::read_dir(folder).unwrap().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    })
}

fn of(text: &str) -> String {
    let is_in = |line: &&str| line.contains(r#""event":"#) || line.contains(r#""config":"#);
    made(text.lines().filter(is_in), None)
}

fn made<'a>(ins: impl Iterator<Item = &'a str>, failure: Option<&Problem>) -> String {
    page(
        "a recording",
        ins,
        Ending {
            failure,
            examination: None,
        },
    )
    .map_err(|problem| problem.words())
    .unwrap()
}

#[test]
fn each_kept_attack_becomes_a_page_that_names_its_failure() {
    let mut pages = 0;
    for (name, text) in attacks() {
        let page = of(&text);
        let last = text
            .lines()
            .rev()
            .find(|line| line.contains(r#""action":"error""#));
        if let Some(line) = last {
            let line: Value = serde_json::from_str(line).unwrap();
            let title = format!(
                "Failed at {}: {}",
                line["stage"].as_str().unwrap(),
                line["cause"].as_str().unwrap()
            );
            assert!(page.contains(&title), "{name}: {title}");
            assert!(page.contains("who must mend it"), "{name}");
        }
        pages += 1;
    }
    assert!(pages > 20);
}

#[test]
fn nothing_secret_of_a_transcript_is_on_its_page() {
    let mut secrets = 0;
    for (name, text) in attacks() {
        let page = of(&text);
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let body: Value = line["body"]
                .as_str()
                .and_then(|body| serde_json::from_str(body).ok())
                .unwrap_or_default();
            let credentials = ["access_token", "refresh_token", "client_secret", "id_token"];
            let of_bodies = credentials
                .iter()
                .filter_map(|member| body[*member].as_str());
            let of_lines = ["token", "seed", "assertion"].iter();
            let of_lines = of_lines.filter_map(|member| line[*member].as_str());
            for secret in of_bodies.chain(of_lines).filter(|secret| secret.len() >= 6) {
                assert!(!page.contains(secret), "{name}: {secret}");
                secrets += 1;
            }
        }
    }
    assert!(secrets > 50);
}

#[test]
fn text_of_a_server_is_text_on_the_page() {
    let body = r#"{\"resource\":\"https://mcp.example/mcp\",\"resource_name\":\"<script>alert(1)</script>\u202e\"}"#;
    let ins = [
        r#"{"now":1,"config":{"mcp_url":"https://mcp.example/mcp?key=k3y-of-a-person","redirect_uri":"http://127.0.0.1/callback","principal":"p"}}"#.to_owned(),
        r#"{"now":1,"event":"slot_loaded","id":1,"contents":null,"revision":null}"#.to_owned(),
        r#"{"now":2,"event":"authorize","seed":"BwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2"}"#.to_owned(),
        format!(r#"{{"now":3,"event":"http_response","id":2,"status":200,"headers":[["content-type","application/json"],["set-cookie","session=c00kie"]],"body":"{body}"}}"#),
    ];
    let page = page("<b>", ins.iter().map(String::as_str), Ending::default())
        .map_err(|problem| problem.words())
        .unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains('\u{202e}'));
    assert!(!page.contains("c00kie") && !page.contains("k3y-of-a-person"));
}

#[test]
fn a_failure_of_the_command_itself_is_the_outcome() {
    let problem = Problem::Other("no answer from the server".into());
    let nothing = made(std::iter::empty(), Some(&problem));
    assert!(nothing.contains("The command failed"));
    assert!(nothing.contains("no answer from the server"));
    let (_, text) = attacks()
        .find(|(_, text)| text.contains(r#""action":"error""#))
        .unwrap();
    let is_in = |line: &&str| line.contains(r#""event":"#) || line.contains(r#""config":"#);
    let known = made(text.lines().filter(is_in), Some(&problem));
    assert!(known.contains("Failed at "));
}

#[test]
fn a_failure_names_what_its_reader_can_do() {
    let pages: String = attacks().map(|(_, text)| of(&text)).collect();
    for words in [
        "option of mcp-auth login",
        "iss of the callback",
        "your security contact",
    ] {
        assert!(pages.contains(words), "{words}");
    }
}
