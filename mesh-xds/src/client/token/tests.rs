use super::*;

fn jwt(claims: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part("{\"alg\":\"none\"}"), part(claims), part("signature"))
}

fn path() -> Arc<Path> {
    Path::new("token").into()
}

fn token(exp: u64) -> Token {
    parse(jwt(&format!("{{\"exp\":{exp}}}")).as_bytes(), &path()).unwrap()
}

#[test]
fn tokens_and_their_ends() {
    for (claims, end) in [
        ("{\"exp\":1700000000}", 1_700_000_000_000),
        ("{\"exp\":1700000000.5,\"iss\":\"a\"}", 1_700_000_000_500),
        ("{\"exp\":0}", 0),
        ("{ \"aud\": [\"istio-ca\"], \"exp\": 1e9 }", 1_000_000_000_000),
    ] {
        let text = jwt(claims);
        for text in [text.clone(), format!("{text}\n"), format!("  {text}\r\n")] {
            let token = parse(text.as_bytes(), &path()).unwrap();
            assert_eq!(token.end, Duration::from_millis(end), "{claims}");
            let header = format!("Bearer {}", text.trim());
            assert_eq!(token.header.to_str().unwrap(), header, "{claims}");
            assert!(token.header.is_sensitive() && !format!("{token:?}").contains(text.trim()));
        }
    }
}

#[test]
fn what_is_no_token() {
    let cases: [(&str, &str); 12] = [
        ("", "three parts"),
        ("a.b", "three parts"),
        (&jwt("{\"exp\":1}.x"), "no JSON object"),
        (&format!("{}.x", jwt("{\"exp\":1}")), "three parts"),
        ("a.*.c", "no base64url"),
        ("a.b.c", "no base64url"),
        (&jwt("[1]"), "no JSON object"),
        (&jwt("{}"), "no JSON object"),
        (&jwt("{\"exp\":\"1\"}"), "no JSON object"),
        (&jwt("{\"exp\":-1}"), "no time"),
        (&jwt("{\"exp\":1e300}"), "no time"),
        (&jwt("{\"exp\":1}").replacen('.', "\n.", 1), "a header can't have"),
    ];
    for (text, reason) in cases {
        let error = parse(text.as_bytes(), &path()).unwrap_err().to_string();
        assert!(error.starts_with("Unauthenticated: the token file `token`"), "{text}: {error}");
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert!(parse(b"\xff.\xff.\xff", &path()).is_err());
}

#[test]
fn the_last_good_one_lives_until_30_s_before_its_end() {
    let unreadable = || NoToken::Unreadable { path: path(), reason: "gone".to_owned() };
    let no_jwt = || NoToken::NoJwt { path: path(), reason: "no" };
    let over = |seconds| NoToken::Over { path: path(), seconds };
    let (old, new) = (token(1000), token(2000));
    type Read = Result<Token, NoToken>;
    let cases: [(&str, Read, Option<&Token>, u64, Read); 9] = [
        ("the first", Ok(new.clone()), None, 1000, Ok(new.clone())),
        ("a newer one", Ok(new.clone()), Some(&old), 0, Ok(new.clone())),
        ("one that ends earlier", Ok(old.clone()), Some(&new), 0, Ok(old.clone())),
        ("no file", Err(unreadable()), Some(&old), 969, Ok(old.clone())),
        ("no file, too late", Err(unreadable()), Some(&old), 970, Err(unreadable())),
        ("no file, never", Err(unreadable()), None, 0, Err(unreadable())),
        ("no token", Err(no_jwt()), Some(&old), 969, Ok(old.clone())),
        ("read too late", Ok(old.clone()), None, 975, Err(over(5))),
        (
            "read too late, a better one was there",
            Ok(old.clone()),
            Some(&new),
            975,
            Ok(new.clone()),
        ),
    ];
    for (what, read, last_good, now, expected) in cases {
        assert_eq!(choose(read, last_good, Duration::from_secs(now), &path()), expected, "{what}");
    }
}

#[tokio::test]
async fn a_file_is_read_for_each_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path: Arc<Path> = directory.path().join("token").into();
    let file = TokenFile::new(Arc::clone(&path));
    let missing = file.authorization().await.unwrap_err().to_string();
    assert!(
        missing.starts_with("Unavailable: ") && missing.contains("jwt_token_file"),
        "{missing}"
    );
    let (one, two) = (jwt("{\"exp\":99999999991}"), jwt("{\"exp\":99999999992}"));
    for text in [&one, &two] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(file.authorization().await.unwrap(), format!("Bearer {text}"));
    }
    std::fs::write(&path, "half").unwrap();
    assert_eq!(file.authorization().await.unwrap(), format!("Bearer {two}"));
    let fresh = TokenFile::new(Arc::clone(&path)).authorization().await.unwrap_err().to_string();
    assert!(fresh.starts_with("Unauthenticated: "), "{fresh}");
    std::fs::write(&path, "x".repeat(65_537)).unwrap();
    let large = TokenFile::new(path).authorization().await.unwrap_err().to_string();
    assert!(large.contains("64 KiB"), "{large}");
    let directory = TokenFile::new(directory.path().into()).authorization().await.unwrap_err();
    assert!(directory.to_string().contains("no regular file"), "{directory}");
}
