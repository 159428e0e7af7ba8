# maildev/maildev: MailDev of npm on Debian's Node, with user and flags of the official image.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nodejs npm busybox \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /bin/busybox /usr/local/bin/wget \
    && NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm install --global --no-audit --no-fund maildev@2.2.1 \
    && rm -rf /root/.npm \
    && useradd --uid 1000 --create-home node
USER node
WORKDIR /home/node
EXPOSE 1080 1025
ENTRYPOINT ["maildev"]
