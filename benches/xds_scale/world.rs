//! What the control plane says: clusters, their endpoints, and the routes that lead to them.

use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, Domain, Endpoint, ForwardAction, PathMatcher, Route,
    RouteAction, RouteMatch, VirtualHost,
};
use mesh_core::update::ClusterUpdate;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// How large it is, and how calls come to clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) clusters: u32,
    pub(crate) endpoints: u32,
    pub(crate) shape: Shape,
}

/// How calls come to clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Each cluster has an authority of its own, as in gRPC.
    Authorities,
    /// One authority has a route to each.
    Routes,
}

impl Shape {
    /// Of the name of a run.
    pub(crate) fn of(name: &str) -> Self {
        if name.ends_with("/routes") { Self::Routes } else { Self::Authorities }
    }
}

impl World {
    /// All of it.
    pub(crate) fn update(&self) -> ConfigUpdate {
        let mut update = ConfigUpdate::in_code();
        match self.shape {
            Shape::Authorities => {
                for number in 0..self.clusters {
                    let name = format!("s{number}.test");
                    let host = VirtualHost::new(&*name, vec![Domain::Exact(name.as_str().into())]);
                    let to = ForwardAction::to(&*cluster(number));
                    update = update.virtual_host(host.route(Route::forward(to)));
                }
            }
            Shape::Routes => {
                let mut host = VirtualHost::new("all", vec![Domain::Exact("all.test".into())]);
                for number in 0..self.clusters {
                    let path = RouteMatch::new(PathMatcher::Prefix(path(number).into()));
                    let to = ForwardAction::to(&*cluster(number));
                    let action = RouteAction::Forward(to);
                    host.routes.push(Arc::new(Route::new(&*cluster(number), path, action)));
                }
                update = update.virtual_host(host);
            }
        }
        for number in 0..self.clusters {
            let model = Arc::new(Cluster::new(&*cluster(number)));
            let endpoints = Some(Arc::new(self.assignment(number, 0)));
            let name = Arc::clone(&model.name);
            update.clusters.insert(name, ClusterUpdate::new(model, endpoints));
        }
        update
    }

    /// The endpoints of a cluster, the middle one of which was changed so often.
    pub(crate) fn assignment(&self, number: u32, changed: u32) -> ClusterLoadAssignment {
        let first = number * self.endpoints;
        ClusterLoadAssignment::of((0..self.endpoints).map(|index| {
            let is_new = changed > 0 && index == self.endpoints / 2;
            let address = if is_new { 0x0b00_0000 + changed } else { 0x0a00_0000 + first + index };
            Endpoint::new(SocketAddr::from((Ipv4Addr::from(address), 8080)).into())
        }))
    }

    /// The URI of a call to a cluster.
    pub(crate) fn uri(&self, number: u32) -> String {
        match self.shape {
            Shape::Authorities => format!("http://s{number}.test/"),
            Shape::Routes => format!("http://all.test{}", path(number)),
        }
    }

    /// The authorities that calls are made to.
    pub(crate) fn authorities(&self) -> Vec<String> {
        match self.shape {
            Shape::Authorities => (0..self.clusters).map(|n| format!("s{n}.test")).collect(),
            Shape::Routes => vec!["all.test".to_owned()],
        }
    }
}

/// Where the changed endpoint of a cluster is.
pub(crate) fn changed_address(changed: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0b00_0000 + changed), 8080))
}

pub(crate) fn cluster(number: u32) -> String {
    format!("c{number}")
}

fn path(number: u32) -> String {
    format!("/c{number}/")
}
