# nginx:*-alpine: Debian's nginx, with the wget that the official image has from busybox.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends nginx-light busybox \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /bin/busybox /usr/local/bin/wget
STOPSIGNAL SIGQUIT
EXPOSE 80
CMD ["nginx", "-g", "daemon off;"]
