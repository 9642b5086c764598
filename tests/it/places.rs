//! Lists are read from where they are; a place without a list is named with what to do, and nothing
//! that a glob matches is skipped without a word.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::Output;

use arrow::array::AsArray as _;
use backlake::contract::Table;

use crate::harness::{Site, program, text};

/// Runs `plan` with these paths of the site's folder, which is also the home folder.
fn plan(site: &Site, paths: &[&str]) -> Output {
    plan_with(site, paths, &[])
}

/// The same with environment variables for an object store.
fn plan_with(site: &Site, paths: &[&str], store: &[(&str, String)]) -> Output {
    let folder = site.folder.path().display().to_string();
    let paths: Vec<String> = paths
        .iter()
        .map(|path| format!("{:?}", path.replace("[folder]", &folder)))
        .collect();
    let text = site
        .text()
        .replace(&format!("\"{folder}/targets.txt\""), &paths.join(", "));
    let file = site.write("pipeline.toml", text);
    program()
        .arg("plan")
        .arg(file)
        .args(["--output", "json"])
        .env("HOME", &folder)
        .envs(store.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap()
}

/// The number of lines that the paths name.
fn lines(site: &Site, paths: &[&str]) -> u64 {
    let output = plan(site, paths);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["lines"].as_u64().unwrap()
}

/// Asserts that the paths are refused with these words.
fn refused(site: &Site, paths: &[&str], words: &[&str]) {
    let output = plan(site, paths);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{paths:?}: {message}");
    for word in words {
        assert!(
            message.contains(word),
            "{paths:?}: `{word}` is not in: {message}"
        );
    }
    assert!(message.contains("hint: "), "{message}");
}

#[test]
fn a_path_means_the_files_that_a_person_expects() {
    let site = Site::new(["a.com"]);
    site.write(".hidden.txt", "b.com\nc.com\n");
    site.write("list[1].txt", "d.com\ne.com\nf.com\n");
    std::fs::create_dir(site.folder.path().join("folder.txt")).unwrap();
    for (paths, expected) in [
        (&["[folder]/targets.txt"][..], 1),
        // Neither the hidden file nor the folder.
        (&["[folder]/*.txt"], 4),
        (&["[folder]/.*.txt"], 2),
        (&["[folder]/list[1].txt"], 3),
        (&["[folder]/list[[]1].txt"], 3),
        (&["[folder]/list[[]?].txt", "[folder]/list[1].txt"], 3),
        (&["~/targets.txt"], 1),
        (&["~/*.txt"], 4),
    ] {
        assert_eq!(lines(&site, paths), expected, "{paths:?}");
    }
}

#[test]
fn a_place_without_a_list_is_named_with_what_to_do() {
    let site = Site::new(["a.com"]);
    symlink("nowhere", site.folder.path().join("dangling.csv")).unwrap();
    let not_utf8 = OsStr::from_bytes(b"caf\xe9.ndjson");
    std::fs::write(site.folder.path().join(not_utf8), "").unwrap();
    for (path, words) in [
        (
            "[folder]/none.txt",
            &["none.txt does not exist", "working directory"][..],
        ),
        (
            "[folder]/*.parquet",
            &["*.parquet matches no file", "hidden files"],
        ),
        (
            "[folder]/list[2].txt",
            &["list[2].txt matches no file", "brackets are a pattern"],
        ),
        ("[folder]/list[2.txt", &["not a valid glob", "[[]"]),
        ("[folder]", &["is a directory", "/*.txt"]),
        (
            "[folder]/dangling.csv",
            &["dangling.csv is a link to nowhere, which does not exist"],
        ),
        (
            "[folder]/*.csv",
            &["dangling.csv is a link to nowhere, which does not exist"],
        ),
        ("[folder]/*.ndjson", &["caf", "not UTF-8", "rename"]),
        (
            "~someone/list.txt",
            &["~someone/list.txt", "another user", "write the whole path"],
        ),
        ("[folder]/targets.txt/x", &["does not exist"]),
    ] {
        refused(&site, &[path], words);
    }
}

/// A server on loopback: `respond` gets the method and the path of each request.
fn serve(respond: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = stream.by_ref().lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let mut words = first.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap_or_default());
            let _ = stream.get_mut().write_all(&respond(method, path));
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// A server with lists, a redirect to each scheme, and what goes wrong.
fn web() -> String {
    serve(|_, path| match path.split('?').next().unwrap() {
        "/list.txt" => response("200 OK", "", "a.com\nb.com\n"),
        "/list.csv" => response("200 OK", "", "url,n\na.com,1\n"),
        "/moved.txt" => response("302 Found", "Location: /list.txt?signature=SECRET\r\n", ""),
        "/round.txt" => response("302 Found", "Location: /round.txt\r\n", ""),
        "/file.txt" => response("302 Found", "Location: file:///etc/passwd\r\n", ""),
        "/elsewhere.txt" => response("302 Found", "Location: http://example.com/list.txt\r\n", ""),
        "/packed.txt" => response("200 OK", "Content-Encoding: gzip\r\n", "a.com\n"),
        "/private.txt" => response("403 Forbidden", "", "no"),
        "/large.txt" => response("200 OK", "", &"https://a.com/\n".repeat(100_000)),
        "/broken.txt" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na.com\n".to_vec(),
        _ => response("404 Not Found", "", ""),
    })
}

#[test]
fn a_list_on_the_web_is_read_under_its_own_name() {
    let (site, web) = (Site::new(["c.com"]), web());
    for (paths, expected) in [
        (&["/list.txt?signature=SECRET"][..], 2),
        (&["/list.csv", "/list.txt", "/list.csv"], 3),
        (&["/moved.txt"], 2),
        // Two lists: a query may well say which.
        (&["/list.txt?client=1", "/list.txt?client=2"], 4),
        (&["/list.txt?client=1", "/list.txt?client=1"], 2),
    ] {
        let paths: Vec<String> = paths.iter().map(|path| format!("{web}{path}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(lines(&site, &paths), expected, "{paths:?}");
    }
    let url = format!("{web}/list.txt?signature=SECRET");
    let local = site.folder.path().join("targets.txt").display().to_string();
    let site = site.with_targets(&format!("paths = [{url:?}, {local:?}]"));
    let output = site.program("run", &["-vv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Vec<String> = sources(&site);
    assert_eq!(
        found,
        [local, format!("{web}/list.txt"), format!("{web}/list.txt")]
    );
    for (name, bytes) in site.tree() {
        assert!(!bytes.windows(6).any(|part| part == b"SECRET"), "{name}");
    }
    assert!(!text(&output.stderr).contains("SECRET"));
}

/// The sources in the targets table, sorted.
fn sources(site: &Site) -> Vec<String> {
    let table = site.table(Table::Targets);
    let column = table.column_by_name("source").unwrap().as_string::<i32>();
    let mut sources: Vec<String> = column.iter().flatten().map(str::to_owned).collect();
    sources.sort();
    sources
}

#[test]
fn a_list_on_the_web_that_cannot_be_read_is_named_with_what_to_do() {
    let (site, web) = (Site::new([""]), web());
    for (path, words) in [
        (
            "/none.txt?signature=SECRET",
            &[
                "/none.txt: its server responds with HTTP 404",
                "correct [targets] paths",
            ][..],
        ),
        (
            "/private.txt?signature=SECRET",
            &[
                "/private.txt: its server responds with HTTP 403",
                "signed URL",
            ],
        ),
        (
            "/round.txt?signature=SECRET",
            &["/round.txt: it redirects more than 5 times"],
        ),
        (
            "/file.txt",
            &[
                "/file.txt: it redirects to file://",
                "only redirects to https",
            ],
        ),
        (
            "/elsewhere.txt",
            &[
                "/elsewhere.txt: it redirects to http://example.com",
                "only redirects to https",
            ],
        ),
        (
            "/large.txt",
            &["/large.txt: it is larger than 1 MiB", "max_list_mib"],
        ),
        (
            "/packed.txt",
            &["/packed.txt: its server compresses it (gzip)", ".gz"],
        ),
        ("/broken.txt", &["/broken.txt: it broke off"]),
    ] {
        let paths = format!("paths = [\"{web}{path}\"]\nmax_list_mib = 1");
        let site = Site::new([""]).with_targets(&paths);
        let output = site.program("run", &[]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path}: {message}");
        for word in words {
            assert!(
                message.contains(word),
                "{path}: `{word}` is not in: {message}"
            );
        }
        assert!(
            message.contains("hint: ") && !message.contains("SECRET"),
            "{message}"
        );
        assert!(!site.lake().join("_archive").exists(), "something was sent");
    }
    let nowhere = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    refused(
        &site,
        &[&format!("http://{nowhere}/list.txt")],
        &["/list.txt: its server cannot be reached"],
    );
}

/// A bucket named `bucket` with some objects, and the environment that finds it.
fn bucket() -> Vec<(&'static str, String)> {
    let objects = [
        ("lists/a.txt", "a.com\n"),
        ("lists/b.txt", "b.com\nc.com\n"),
        ("lists/.hidden.txt", "d.com\n"),
        ("lists/more/e.txt", "e.com\n"),
        ("lists/list[1].txt", "f.com\ng.com\nh.com\n"),
    ];
    let url = serve(move |method, path| {
        let path = path
            .replace("%5B", "[")
            .replace("%5D", "]")
            .replace("%2F", "/");
        if let Some((_, query)) = path
            .split_once('?')
            .filter(|(_, query)| query.contains("list-type"))
        {
            let prefix = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("prefix="))
                .unwrap_or_default();
            let contents: String = objects
                .iter()
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(name, body)| format!("<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{}</Size></Contents>", body.len()))
                .collect();
            return response(
                "200 OK",
                "",
                &format!(
                    "<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
                ),
            );
        }
        let headers = "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"1\"\r\n";
        match objects
            .iter()
            .find(|(name, _)| path == format!("/bucket/{name}"))
        {
            Some((_, body)) if method == "HEAD" => {
                let full = response("200 OK", headers, body);
                full[..full.len() - body.len()].to_vec()
            }
            Some((_, body)) => response("200 OK", headers, body),
            None if path.contains("denied") => response("403 Forbidden", "", ""),
            None => response("404 Not Found", "", ""),
        }
    });
    let variable = |name, value: &str| (name, value.to_owned());
    vec![
        ("AWS_ENDPOINT_URL", url),
        variable("AWS_ALLOW_HTTP", "true"),
        variable("AWS_ACCESS_KEY_ID", "key"),
        variable("AWS_SECRET_ACCESS_KEY", "SECRET"),
        variable("AWS_REGION", "eu-central-1"),
    ]
}

#[test]
fn lists_in_a_bucket_are_read_by_name_and_by_glob() {
    let (site, bucket) = (Site::new(["z.com"]), bucket());
    for (paths, expected) in [
        (&["s3://bucket/lists/a.txt"][..], 1),
        // Neither the hidden object nor the one in a folder.
        (&["s3://bucket/lists/*.txt"], 6),
        (
            &["s3://bucket/lists/[ab].txt", "s3://bucket/lists/a.txt"],
            3,
        ),
        (
            &["s3://bucket/lists/list[1].txt", "[folder]/targets.txt"],
            4,
        ),
        (&["s3://bucket/*/more/?.txt"], 1),
    ] {
        let output = plan_with(&site, paths, &bucket);
        assert!(
            output.status.success(),
            "{paths:?}: {}",
            text(&output.stderr)
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["lines"], expected, "{paths:?}");
    }
    for (path, words) in [
        (
            "s3://bucket/lists/none.txt",
            &[
                "s3://bucket/lists/none.txt: it does not exist",
                "create the list",
            ][..],
        ),
        (
            "s3://bucket/lists/*.csv",
            &["s3://bucket/lists/*.csv matches no file"],
        ),
        (
            "s3://bucket/denied.txt",
            &["s3://bucket/denied.txt: access is denied", "credentials"],
        ),
    ] {
        let output = plan_with(&site, &[path], &bucket);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path}: {message}");
        for word in words {
            assert!(
                message.contains(word),
                "{path}: `{word}` is not in: {message}"
            );
        }
        assert!(
            message.contains("hint: ") && !message.contains("SECRET"),
            "{message}"
        );
    }
}
