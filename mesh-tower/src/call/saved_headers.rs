//! [`SavedHeaders`]: the headers of a request, kept for another attempt.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// The headers of a request, in their order. They are kept for every call that may be tried again and read for
/// hardly any: without the index that a clone of a [`HeaderMap`] has, and without room for more.
#[derive(Debug)]
pub(super) struct SavedHeaders(Vec<(HeaderName, HeaderValue)>);

impl SavedHeaders {
    /// Keeps these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut pairs = Vec::with_capacity(headers.len());
        pairs.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(pairs)
    }

    /// The headers that were kept; `None`: more than a map holds (24,576 names), which a head of a call
    /// never has.
    pub(super) fn map(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::try_with_capacity(self.0.len()).unwrap_or_default();
        for (name, value) in &self.0 {
            map.try_append(name, value.clone()).ok()?;
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn saved(map: &HeaderMap) -> HeaderMap {
        SavedHeaders::of(map).map().unwrap()
    }

    /// Pairs in their order, with the mark.
    fn pairs(map: &HeaderMap) -> Vec<(&HeaderName, &HeaderValue, bool)> {
        map.iter().map(|(name, value)| (name, value, value.is_sensitive())).collect()
    }

    #[test]
    fn what_is_kept_comes_back_in_order_with_its_marks() {
        let mut map = HeaderMap::new();
        assert_eq!(saved(&map), map);
        map.insert("authorization", HeaderValue::from_static("Bearer x"));
        map.get_mut("authorization").unwrap().set_sensitive(true);
        map.append("x-many", HeaderValue::from_static("1"));
        map.append("te", HeaderValue::from_static("trailers"));
        map.append("x-many", HeaderValue::from_static(""));
        map.append("x-many", HeaderValue::from_bytes(b"\xff\t\x80").unwrap());
        let back = saved(&map);
        assert_eq!(pairs(&back), pairs(&map));
        assert!(back["authorization"].is_sensitive());
        assert!(!back["te"].is_sensitive());
    }

    #[test]
    fn many_more_headers_than_a_head_can_have_are_kept() {
        let mut map = HeaderMap::new();
        for i in 0..20_000 {
            let name = HeaderName::try_from(format!("x-{i}")).unwrap();
            map.append(name, HeaderValue::from(i));
            map.append("x-1", HeaderValue::from(i));
        }
        let back = saved(&map);
        assert_eq!(pairs(&back), pairs(&map));
    }

    proptest! {
        #[test]
        fn any_headers_come_back(
            headers in proptest::collection::vec(
                ("[a-z][a-z0-9-]{0,4}", "[ -~]{0,80}", any::<bool>()), 0..40),
            gone in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
        ) {
            let mut map = HeaderMap::new();
            for (name, value, is_sensitive) in &headers {
                let mut value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                value.set_sensitive(*is_sensitive);
                map.append(HeaderName::try_from(name).unwrap(), value);
            }
            for index in gone.iter().filter(|_| !headers.is_empty()) {
                map.remove(&index.get(&headers).0);
            }
            let back = saved(&map);
            prop_assert_eq!(pairs(&back), pairs(&map));
        }
    }
}
