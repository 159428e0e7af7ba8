# redis:*-bookworm: Debian's Redis, with the user, the folder and the paths of the official image.
FROM debian:bookworm-slim
RUN groupadd --system --gid 999 redis \
    && useradd --system --uid 999 --gid redis --home-dir /data redis \
    && apt-get update \
    && apt-get install --yes --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* \
    && rm /usr/bin/redis-server && cp /usr/bin/redis-check-rdb /usr/local/bin/redis-server \
    && mv /usr/bin/redis-cli /usr/local/bin/redis-cli \
    && mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
