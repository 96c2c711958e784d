//! The stream to a control plane: whatever happens, in whatever order, the server knows what is watched,
//! every answer is one to the last response, the caller holds what the machine thinks it holds, and no
//! timer is due for ever. What the bytes mean is told where they are read, which is beside the property of
//! the same promise.
#![no_main]

#[path = "../../mesh-xds/src/protocol/tests/properties/model.rs"]
mod model;

use libfuzzer_sys::fuzz_target;
use mesh_xds::ResourceType;
use mesh_xds::protocol::{
    Action, Body, CloseReason, Content, Event, MAX_NACK_TEXT, Name, Options, Protocol, Received,
    Request, ResourceError, Response, Variant,
};

fuzz_target!(|bytes: &[u8]| model::run(bytes));
