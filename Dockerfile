# A static binary and CA certificates, nothing else: no shell, no package, no
# root. "make image-test" builds it and runs what is in it.
#
#   docker build --build-arg VERSION="$(git describe --always)" -t trackd .
#   docker run --read-only -v trackd:/var/lib/trackd -v trackd-run:/run/trackd \
#     -e TRACKD_UPSTREAM_REGION=us -e TRACKD_UPSTREAM_API_KEY=… trackd
#
# deploy/ has it beside an app, in Compose and Kubernetes.
FROM golang:1.26 AS build
WORKDIR /src

# Modules change less often than code, so they get a layer of their own.
COPY go.mod go.sum ./
RUN go mod download

COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION" -o /out/trackd ./cmd/trackd
# The final stage has no mkdir.
RUN mkdir /out/state /out/run

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/trackd /trackd
COPY --from=build --chown=65532:65532 /out/state /var/lib/trackd
COPY --from=build --chown=65532:65532 /out/run /run/trackd

# By number: orchestrators that insist on a user other than root cannot look up
# names here.
USER 65532:65532

# The queue must outlive the container; give it a volume with a name. The sockets
# are shared with apps in other containers. Both stay writable when the root
# filesystem is not.
VOLUME ["/var/lib/trackd", "/run/trackd"]

# Where things lie by default, told as systemd tells it, so that a mounted
# /etc/trackd/config.yaml still goes over it. The admin address is read only and
# is bound wide for probes and scrapes. Ingest over HTTP stays on loopback, where
# the containers of a pod meet; to open it, set TRACKD_INGEST_HTTP and
# TRACKD_INGEST_KEY_FILE.
ENV STATE_DIRECTORY=/var/lib/trackd \
    RUNTIME_DIRECTORY=/run/trackd \
    TRACKD_ADMIN_HTTP=:9484
EXPOSE 9484

# Alive: the process makes progress. Whether it delivers is no reason to restart
# it; that is for /deliverz and alerts.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/trackd", "status", "--healthy"]

# More than shutdown_timeout: "docker stop" waits 10 s if nobody says more.
STOPSIGNAL SIGTERM

ENTRYPOINT ["/trackd"]
CMD ["serve"]
