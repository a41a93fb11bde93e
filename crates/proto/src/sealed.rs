//! `postern.sealed.v1`: the inside of a sealed box, for gateways only.

tonic::include_proto!("postern.sealed.v1");
