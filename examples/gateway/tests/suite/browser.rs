//! A user's browser, without its pages.

use http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, StatusCode};

/// A user's browser.
pub(crate) struct Browser {
    pub(crate) http: reqwest::Client,
    pub(crate) cookie: String,
}

impl Browser {
    /// Signs in at the gateway.
    pub(crate) async fn of(user: &str, gateway: &str) -> Self {
        // A program may run the gateway instead of this process, so that nothing else has chosen a provider here.
        let _first = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let mut browser = Self {
            http,
            cookie: String::new(),
        };
        let (status, headers, _) = browser
            .post(gateway, "login", &format!("user={user}"))
            .await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let cookie = headers[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"));
        let (session, _) = cookie.split_once(';').unwrap();
        browser.cookie = session.to_owned();
        browser
    }

    pub(crate) async fn get(&self, url: &str) -> (StatusCode, HeaderMap, String) {
        let request = self.http.get(url).header(COOKIE, &self.cookie);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    pub(crate) async fn post(
        &self,
        gateway: &str,
        to: &str,
        form: &str,
    ) -> (StatusCode, HeaderMap, String) {
        let request = self.http.post(format!("{gateway}/{to}"));
        let request = request
            .header(COOKIE, &self.cookie)
            .header(ORIGIN, gateway)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(form.to_owned()).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    pub(crate) async fn calls(&self, gateway: &str) -> StatusCode {
        self.post(gateway, "call", "tool=read&text=hello").await.0
    }

    /// Returns the URL that the gateway redirects the browser to; the browser receives its own cookie.
    pub(crate) async fn connect(&mut self, gateway: &str) -> String {
        let (status, headers, _) = self.get(&format!("{gateway}/connect")).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let cookie = headers[SET_COOKIE].to_str().unwrap();
        let (browser, rest) = cookie.split_once(';').unwrap();
        assert!(browser.starts_with("browser=") && rest.contains("HttpOnly"));
        let (session, _) = self.cookie.split_once(';').unwrap_or((&self.cookie, ""));
        self.cookie = format!("{session}; {browser}");
        headers[LOCATION].to_str().unwrap().to_owned()
    }

    /// Completes an authorization.
    pub(crate) async fn connects(&mut self, gateway: &str) {
        let to = self.connect(gateway).await;
        let callback = self.consent(&to).await;
        self.get(&callback).await;
    }

    /// Returns the URL that the authorization server redirects the browser to.
    pub(crate) async fn consent(&self, url: &str) -> String {
        let answer = self.http.get(url).send().await.unwrap();
        answer.headers()[LOCATION].to_str().unwrap().to_owned()
    }
}
