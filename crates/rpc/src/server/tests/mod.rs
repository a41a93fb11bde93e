mod calls;
mod connections;
mod probes;
mod reflection;
