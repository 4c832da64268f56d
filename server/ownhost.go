package server

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/atmost-dev/atmost"
)

// ownHost refuses what comes over a loopback address without TLS, and is for a host of some name. A site may have its own name lead to
// this machine. To a browser here its pages are then of the same site as what answers there, and may read all of it.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if local != nil && local.IP.IsLoopback() && r.TLS == nil && !isOwnHost(r.Host) {
			writeRefusal(w, &atmost.Error{
				Code:    atmost.CodeInvalidRequest,
				Message: "the request is for a host of some name, which a page of another site could have sent; ask for localhost or an address, and have a proxy do so",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwnHost reports whether nobody else can have the host of a request, with a port or without, as a name.
func isOwnHost(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	return name == "" || strings.EqualFold(name, "localhost") || net.ParseIP(name) != nil // browsers always tell one
}
