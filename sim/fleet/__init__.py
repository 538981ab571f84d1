"""The modelled fleet: servers, devices, domains, queues, and the files that describe them."""
