# rust:*-slim-bookworm: the compiler of this machine, where the official image has it. The context is its sysroot.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY bin /usr/local/bin
COPY lib /usr/local/lib
# In the official image it is writable by whoever runs cargo.
ENV CARGO_HOME=/usr/local/cargo \
    CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt
