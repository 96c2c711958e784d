//! What `mesh ads` makes of paths: directories are followed, and replicas agree whatever way the same files
//! reach them.

use crate::ads::{Ads, PATIENCE, page, yaml};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Waits until the admin's metrics have this line.
#[track_caller]
fn until(admin: &str, line: &str) {
    let begun = Instant::now();
    while !page(admin, "/metrics").contains(&format!("\n{line}\n")) {
        assert!(begun.elapsed() < PATIENCE, "{line}: {}", page(admin, "/metrics"));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn cluster(name: &str) -> String {
    format!("version: 1\nclusters:\n  {name}: {{ endpoints: [\"127.0.0.1:8081\"] }}\n")
}

#[test]
fn files_that_come_to_a_directory_or_leave_it_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("mesh.yaml"), yaml("one")).unwrap();
    let ads = Ads::start_with(&[], &conf);
    let (_, admin) = ads.addresses();
    let serves = |clusters: &str| {
        let said = ads.says("serving ");
        assert!(said.contains(&format!(", {clusters} CDS ")), "{clusters}: {said}");
        said
    };
    let first = serves("1");
    fs::write(conf.join("more.yaml"), cluster("two")).unwrap();
    serves("2");
    fs::write(conf.join(".more.yaml.swp"), "no configuration").unwrap();
    fs::remove_file(conf.join("more.yaml")).unwrap();
    assert_eq!(serves("1"), first);

    // The last good stays when the directory is gone, or empty.
    let aside = directory.path().join("aside");
    fs::rename(&conf, &aside).unwrap();
    until(&admin, "mesh_ads_stale 1");
    fs::create_dir(&conf).unwrap();
    until(&admin, "mesh_ads_rejected_edits_total 2");
    assert!(page(&admin, "/ready").starts_with("HTTP/1.1 200 "));
    fs::rename(aside.join("mesh.yaml"), conf.join("mesh.yaml")).unwrap();
    until(&admin, "mesh_ads_stale 0");
    fs::write(conf.join("mesh.yaml"), yaml("three")).unwrap();
    assert_ne!(serves("1"), first);
}

/// Two hosts and two clusters, in one file or several.
const SHOP: &str = "version: 1\nvirtual_hosts:\n  shop: { domains: [shop, \"*.shop\"], routes: [{ cluster: a }] }\n";
const CART: &str = "version: 1\nvirtual_hosts:\n  cart: { domains: [cart], routes: [{ split: { a: 1, b: 2 } }] }\n";
const CLUSTERS: &str = "version: 1\nclusters:\n  a: { endpoints: [\"127.0.0.1:1\"] }\n  b: { dns: \"b.example:80\" }\n";
const AS_ONE: &str = "# Everything.\nclusters:\n  b:\n    dns: b.example:80   # by name\n  a:\n    endpoints:\n    - { address: \"127.0.0.1:1\" }\n\
     virtual_hosts:\n  cart:\n    routes:\n    - split: { a: 1, b: 2 }\n    domains: [\"cart\"]\n  shop:\n    domains: ['shop', '*.shop']\n    routes: [cluster: a]\nversion: 1\n";

const ENVOYS: [&str; 2] = [
    "resources:\n- { \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: b, connect_timeout: 1s }\n\
     - { \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a, connect_timeout: 2s }\n",
    "[{ \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: all, virtual_hosts: \
     [{ name: a, domains: [a], routes: [{ match: { prefix: / }, route: { cluster: a } }] }] }]\n",
];
const ENVOYS_AS_ONE: &str = "# Envoy's.\nresources:\n\
     - name: all\n  \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  virtualHosts:\n  \
     - routes:\n    - route:\n        cluster: a\n      match:\n        prefix: \"/\"\n    domains: [a]\n    name: a\n\
     - connectTimeout: 2.0s\n  name: a\n  \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n\
     - connectTimeout: 1s\n  name: b\n  \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n";

/// What a replica says that it serves: the version of each kind.
fn served(files: &[(&str, &str)], paths: &[&str], arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let paths: Vec<PathBuf> = paths.iter().map(|path| directory.path().join(path)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let ads = Ads::start_paths(arguments, &paths);
    ads.addresses();
    ads.says("serving ")
}

#[test]
fn replicas_agree_whatever_way_the_same_files_reach_them() {
    const WEB: &[&str] =
        &["--envoy-listener", "web=127.0.0.1:1", "--envoy-listener", "in=127.0.0.1:2"];
    const BEW: &[&str] =
        &["--envoy-listener", "in=127.0.0.1:2", "--envoy-listener", "web=127.0.0.1:1"];
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
    let three = [("1.yaml", SHOP), ("2.yaml", CART), ("3.yaml", CLUSTERS)];
    let expected = served(&three, &["1.yaml", "2.yaml", "3.yaml"], WEB);
    let rows: [Row<'_>; 5] = [
        ("the paths in another order", &three, &["3.yaml", "2.yaml", "1.yaml"], WEB),
        ("listeners in another order", &three, &["1.yaml", "2.yaml", "3.yaml"], BEW),
        (
            "a directory",
            &[("d/1.yaml", SHOP), ("d/2.yaml", CART), ("d/3.yaml", CLUSTERS)],
            &["d"],
            WEB,
        ),
        (
            "directories in another order, under other names",
            &[("a/z.yaml", CLUSTERS), ("b/y.yaml", CART), ("b/x.yaml", SHOP)],
            &["b", "a"],
            WEB,
        ),
        ("one file, other formatting and comments", &[("all.yaml", AS_ONE)], &["all.yaml"], WEB),
    ];
    for (what, files, paths, arguments) in rows {
        assert_eq!(served(files, paths, arguments), expected, "{what}");
    }
    let [clusters, routes] = ENVOYS;
    let expected = served(&[("c.yaml", clusters), ("r.yaml", routes)], &["c.yaml", "r.yaml"], &[]);
    let rows: [Row<'_>; 3] = [
        (
            "Envoy's in another order",
            &[("c.yaml", clusters), ("r.yaml", routes)],
            &["r.yaml", "c.yaml"],
            &[],
        ),
        ("Envoy's in a directory", &[("d/z.yaml", clusters), ("d/a.yaml", routes)], &["d"], &[]),
        ("Envoy's, as one file", &[("all.yaml", ENVOYS_AS_ONE)], &["all.yaml"], &[]),
    ];
    for (what, files, paths, arguments) in rows {
        assert_eq!(served(files, paths, arguments), expected, "{what}");
    }
}
