//! Listeners of servers that outlive their newest form, in the copy on disk.
//!
//! A server goes on by the last listener that could be (gRFC A88), of which the store does not hold the bytes any more:
//! they are noted with each configuration that is told, and are in force once that is. In a process that starts by the
//! copy they stand beside the newest, as they did before.

use super::Client;
use crate::cascade::kept::Restored;
use crate::decode::{self, Decoded};
use crate::last_good::{KeptListener, RawResource};
use crate::protocol::canonical;
use crate::store::Received;
use crate::{Resource, ResourceType};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// Listeners by their names.
type Kept = BTreeMap<Arc<str>, KeptListener>;

/// The most configurations that are told and wait for their acknowledgement; of more the oldest are forgotten.
const MAX_TOLD: usize = 16;

/// What was kept with each configuration that was told, and with the one in force.
#[derive(Debug, Default)]
pub(super) struct Forms {
    told: VecDeque<(Arc<str>, Kept)>,
    in_force: Kept,
}

impl Forms {
    /// A configuration with these is told; `None`: with those of the last one, of which only endpoints are others.
    pub(super) fn told(&mut self, version: &Arc<str>, kept: Option<Kept>) {
        let last = || self.told.back().map_or(&self.in_force, |(_, kept)| kept).clone();
        let kept = kept.unwrap_or_else(last);
        self.told.push_back((Arc::clone(version), kept));
        if self.told.len() > MAX_TOLD {
            self.told.pop_front();
        }
    }

    /// The configuration of this version is in force.
    pub(super) fn acknowledged(&mut self, version: &str) {
        let Some(last) = self.told.iter().rposition(|(told, _)| **told == *version) else { return };
        if let Some((_, kept)) = self.told.drain(..=last).next_back() {
            self.in_force = kept;
        }
    }

    /// Those in force.
    pub(super) const fn in_force(&self) -> &Kept {
        &self.in_force
    }
}

impl Client {
    /// Puts back what a server served by. One that can't be read any more is left out, with a line of the log.
    pub(super) fn restore_kept(&mut self, kept: &KeptListener) {
        let name = &kept.listener.name;
        let left_out = |why: &str| {
            tracing::warn!(target: "mesh::xds", kind = %ResourceType::Listener, %name, "what a server served by is left out of the copy: {why}");
        };
        match self.read_kept(kept) {
            Ok(Some(restored)) => self.cascade.handle_kept(name, restored),
            Ok(None) => left_out("nobody can serve by it"),
            Err(why) => left_out(&why),
        }
    }

    /// `None`: nobody can serve by it.
    fn read_kept(&self, kept: &KeptListener) -> Result<Option<Restored>, String> {
        let mut routes = BTreeMap::new();
        for raw in &kept.routes {
            if let (Resource::RouteConfiguration(found), received) = self.read_raw(raw)? {
                routes.insert(canonical(&raw.name), (found, received));
            }
        }
        let (listener, received) = self.read_raw(&kept.listener)?;
        let Resource::Listener(listener) = listener else { return Ok(None) };
        let server = listener.server.as_ref().and_then(|server| server.as_ref().ok());
        Ok(server.and_then(|server| Restored::new(server, received, &routes)))
    }

    fn read_raw(&self, raw: &RawResource) -> Result<(Resource, Received), String> {
        let RawResource { kind, name, version, body } = raw;
        let server = self.federation.server_of(*kind, name).unwrap_or_default();
        let slot = self.slots.get(server).ok_or("no server has it")?;
        let Decoded { resource, .. } = decode::decode(*kind, body, slot.context());
        let value = resource.map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        })?;
        Ok((value, Received::new(Arc::clone(version), xxh64(body, 0), body.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClientEvent;
    use super::*;
    use crate::bootstrap::{Bootstrap, ChannelCreds, Server};
    use crate::encode;
    use crate::last_good::{self, DEFAULT_MAX_BYTES, LastGood, Origin};
    use crate::protocol::Variant;
    use bytes::Bytes;
    use envoy_types::pb::envoy::config::core::v3::{
        AggregatedConfigSource, ConfigSource, config_source::ConfigSourceSpecifier,
    };
    use envoy_types::pb::envoy::config::listener::v3::{self as pb, filter::ConfigType};
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    use hcm::http_connection_manager::RouteSpecifier;
    use mesh_core::WallTime;
    use mesh_core::model::http_filter::BodySizeLimit;
    use mesh_core::model::{
        Address, FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig,
        HttpFilterOverride, Listener, Route, RouteAction, RouteConfiguration, RouteMatch,
        VirtualHost,
    };
    use mesh_core::update::ConfigUpdate;
    use prost::Message;

    fn bootstrap() -> Bootstrap {
        // Nobody listens there.
        Bootstrap::new(Server::new("127.0.0.1:9", ChannelCreds::Insecure).unwrap())
    }

    /// The listener `in` of a server, with a filter `body`, and with the routes `r`.
    fn listener() -> RawResource {
        listener_with("in", "r")
    }

    /// The same by these names.
    fn listener_with(name: &str, routes: &str) -> RawResource {
        let limit = HttpFilterConfig::BodySizeLimit(Arc::new(BodySizeLimit::new(10)));
        let filters = vec![HttpFilter::new("body", limit)];
        let manager = HttpConnectionManager::new(Arc::default(), filters);
        let mut model = Listener::new(name);
        model.address = Some(Address::Socket("127.0.0.1:8080".parse().unwrap()));
        let chain = FilterChain::new("c", Some(Arc::new(manager)));
        model.default_filter_chain = Some(Arc::new(chain));
        let mut message = encode::server_listener(&model);
        let chain = message.default_filter_chain.as_mut().unwrap();
        let Some(ConfigType::TypedConfig(any)) = &mut chain.filters[0].config_type else {
            panic!("{chain:?}")
        };
        let mut manager = hcm::HttpConnectionManager::decode(&*any.value).unwrap();
        let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
        let config_source =
            Some(ConfigSource { config_source_specifier: Some(ads), ..Default::default() });
        let routes = hcm::Rds { config_source, route_config_name: routes.into() };
        manager.route_specifier = Some(RouteSpecifier::Rds(routes));
        any.value = manager.encode_to_vec();
        raw(ResourceType::Listener, name, message.encode_to_vec().into())
    }

    /// The same with what no server here can do: it is refused, unless nobody asks for it by its name (gRFC A36).
    fn unfit() -> RawResource {
        let mut message = pb::Listener::decode(&*listener().body).unwrap();
        let filter = pb::ListenerFilter { name: "unknown".into(), ..Default::default() };
        message.listener_filters.push(filter);
        raw(ResourceType::Listener, "in", message.encode_to_vec().into())
    }

    /// So many virtual hosts; what odd ones say of the filter `body` is for another kind of filter.
    fn routes(hosts: usize, are_odd: bool) -> RawResource {
        routes_with("r", hosts, are_odd)
    }

    /// The same by this name.
    fn routes_with(name: &str, hosts: usize, are_odd: bool) -> RawResource {
        let mut model = RouteConfiguration::default();
        let host = |at| {
            let route = Route::new("all", RouteMatch::any(), RouteAction::NonForwarding);
            let mut host = VirtualHost::of(&format!("h{at}")).unwrap().route(route);
            if are_odd {
                let edits = HttpFilterConfig::HeaderMutation(Arc::default());
                host.filters.insert("body".into(), HttpFilterOverride::Config(edits));
            }
            Arc::new(host)
        };
        model.virtual_hosts = (0..hosts).map(host).collect();
        let body = encode::route_configuration(name, &model).encode_to_vec();
        raw(ResourceType::RouteConfiguration, name, body.into())
    }

    fn raw(kind: ResourceType, name: &str, body: Bytes) -> RawResource {
        RawResource::new(kind, name, "1", body)
    }

    /// A process that starts by a copy, and whose server asks for `name`.
    fn started(is_everything: bool, name: &str, copy: &LastGood) -> Client {
        let client = match is_everything {
            true => Client::everything(&bootstrap(), Variant::StateOfTheWorld),
            false => Client::new(&bootstrap(), Variant::StateOfTheWorld),
        };
        let mut client = client.remembering();
        client.restore(copy);
        client.serve(&name.into());
        client
    }

    fn hear(client: &mut Client, raw: &RawResource) {
        let (value, received) = client.read_raw(raw).unwrap();
        client.cascade.handle_changed(raw.kind, &raw.name, value, received);
        client.publish_soon();
    }

    /// The next configuration by which `in` is served with so many virtual hosts, kept or not.
    async fn told(client: &mut Client, hosts: usize, is_kept: bool) -> Arc<str> {
        loop {
            let ClientEvent::Update(update) = client.next().await else { continue };
            let kept = client.cascade.kept_listeners();
            if served(&update) == Some(hosts) && kept.contains_key("in") == is_kept {
                return update.origin.version;
            }
        }
    }

    fn served(update: &ConfigUpdate) -> Option<usize> {
        let chain = update.listeners.get("in")?.default_filter_chain.as_ref()?;
        Some(chain.http.as_ref()?.route_configuration.virtual_hosts.len())
    }

    /// gRFC A88 beyond the end of a process: what a server served by serves again, although what came last is no good.
    #[tokio::test]
    async fn what_served_serves_again_in_the_next_process() {
        let odd = || routes(2, true);
        let by_address = "127.0.0.1:8080";
        for (is_everything, name, newest) in
            [(false, "in", odd()), (true, "in", odd()), (true, by_address, unfit())]
        {
            let origin = || Origin::of(&bootstrap());
            let now = WallTime::from_unix_seconds(1_795_000_000);
            let mut copy = LastGood::new(origin(), now);
            copy.push(listener()).unwrap();
            copy.push(routes(1, false)).unwrap();
            let mut first = started(is_everything, name, &copy);
            let version = told(&mut first, 1, false).await;
            assert!(first.acknowledged(&version).is_some());
            hear(&mut first, &newest);
            let version = told(&mut first, 1, true).await;
            assert_eq!(first.in_use().kept, [], "told, and not in force");
            assert!(first.acknowledged(&version).is_some());
            let in_use = first.in_use();
            let expected = KeptListener::new(listener(), vec![routes(1, false)]);
            assert_eq!(in_use.kept, std::slice::from_ref(&expected));
            assert!(in_use.resources.contains(&newest), "calls may go by the newest");

            let (copy, left_out) = in_use.into_last_good(origin(), now);
            assert_eq!(left_out, []);
            let file = last_good::write(&copy, DEFAULT_MAX_BYTES).unwrap();
            let copy = last_good::read(&file.into(), &origin(), DEFAULT_MAX_BYTES).unwrap();
            let mut second = started(is_everything, name, &copy);
            let version = told(&mut second, 1, true).await;
            assert!(second.acknowledged(&version).is_some());
            assert_eq!(second.in_use().kept, [expected]);

            hear(&mut second, &listener());
            hear(&mut second, &routes(3, false));
            let version = told(&mut second, 3, false).await;
            assert!(second.acknowledged(&version).is_some());
            assert_eq!(second.in_use().kept, []);
        }
    }

    /// What came last waits for its routes: what served before does so until they are there, and in the next process.
    #[tokio::test]
    async fn what_serves_until_its_successor_is_there_does_so_in_the_next_process() {
        let origin = || Origin::of(&bootstrap());
        let now = WallTime::from_unix_seconds(1_795_000_000);
        let mut copy = LastGood::new(origin(), now);
        copy.push(listener()).unwrap();
        copy.push(routes(1, false)).unwrap();
        let mut first = started(false, "in", &copy);
        let version = told(&mut first, 1, false).await;
        assert!(first.acknowledged(&version).is_some());
        hear(&mut first, &listener_with("in", "later"));
        // Something else that is new.
        first.serve(&"other".into());
        hear(&mut first, &listener_with("other", "r"));
        let version = loop {
            let ClientEvent::Update(update) = first.next().await else { continue };
            if update.listeners.contains_key("other") {
                assert_eq!(served(&update), Some(1));
                break update.origin.version;
            }
        };
        assert!(first.acknowledged(&version).is_some());
        let in_use = first.in_use();
        let expected = KeptListener::new(listener(), vec![routes(1, false)]);
        assert_eq!(in_use.kept, std::slice::from_ref(&expected));

        let (copy, left_out) = in_use.into_last_good(origin(), now);
        assert_eq!(left_out, []);
        let mut second = started(false, "in", &copy);
        let version = told(&mut second, 1, false).await;
        assert!(second.acknowledged(&version).is_some());
        assert_eq!(second.in_use().kept, [expected]);
        hear(&mut second, &routes_with("later", 3, false));
        let version = told(&mut second, 3, false).await;
        assert!(second.acknowledged(&version).is_some());
        assert_eq!(second.in_use().kept, []);
    }

    fn kept(name: &str) -> Kept {
        let raw = RawResource::new(ResourceType::Listener, name, "1", vec![1].into());
        [(Arc::from(name), KeptListener::new(raw, Vec::new()))].into()
    }

    /// `v=name` told as version `v`, `v=` the same with endpoints only, `^v` acknowledged.
    #[track_caller]
    fn check(words: &str, expected: &str) {
        let mut forms = Forms::default();
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some((version, "")) => forms.told(&version.into(), None),
                Some((version, name)) => forms.told(&version.into(), Some(kept(name))),
                None => forms.acknowledged(word.strip_prefix('^').unwrap()),
            }
        }
        let names: Vec<_> = forms.in_force().keys().map(|name| &**name).collect();
        assert_eq!(names.join(" "), expected, "{words}");
    }

    #[test]
    fn what_is_kept_is_in_force_with_its_configuration() {
        check("1=a", "");
        check("1=a ^1", "a");
        check("1=a ^1 2=b 3=c", "a");
        check("1=a ^1 2=b 3=c ^2", "b");
        check("1=a ^1 2=b 3=c ^3 ^2 ^x", "c");
        check("1=a 2= ^2", "a");
        check("1=a ^1 2= 3=b 4= ^2", "a");
        check("1=a ^1 2= 3=b 4= ^4", "b");
        let many: Vec<_> = (2..100).map(|at| format!("{at}=b")).collect();
        check(&format!("1=a ^1 {} ^99", many.join(" ")), "b");
    }
}
