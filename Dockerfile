# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src
# Modules first: they change less often than the code, so this layer is mostly cached.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/atmost ./cmd/atmost \
    && install -d -m 0700 /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/atmost /usr/local/bin/atmost
# The embedded store's directory must belong to the user: a new volume takes over its owner.
COPY --from=build --chown=nonroot:nonroot /out/data /data
# Settings of the image are a file, not variables: those would win over a file that is mounted in its place.
COPY deploy/docker.yaml /etc/atmost/atmost.yaml
USER nonroot
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENV ATMOST_CONFIG=/etc/atmost/atmost.yaml
ENTRYPOINT ["/usr/local/bin/atmost"]
CMD ["serve"]
