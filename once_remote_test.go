package atmost_test

import (
	"github.com/atmost-dev/atmost/atmostclient"
	"github.com/atmost-dev/atmost/internal/memnet"
	"github.com/atmost-dev/atmost/server"
)

// remote serves the engine over HTTP, and returns a client of it.
func (b *bench) remote() *atmostclient.Client {
	c, err := atmostclient.New("http://atmost", atmostclient.WithHTTPClient(memnet.Serve(b.T, server.New(b.Engine, server.Options{}))))
	if err != nil {
		b.Fatal(err)
	}
	return c
}
