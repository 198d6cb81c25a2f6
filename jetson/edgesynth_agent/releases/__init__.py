"""Deployed networks on the device: `deploy-session` puts them there, step by step, and takes them away again.

Bottom up: `layout` (where things lie), `disk` (what survives a power cut), `order` and `manifest` (what a release is),
`store` (releases and which one is current), `trial` (in a worker: build, compare, run), `service` and `install` (the
agent as a service), `steps` and `session` (one deploy, told what to do over stdin).
"""
