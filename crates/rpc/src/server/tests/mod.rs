mod calls;
mod client_certificates;
mod connections;
mod limits;
mod probes;
mod reflection;
