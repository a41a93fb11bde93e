mod calls;
mod connections;
mod limits;
mod probes;
mod reflection;
