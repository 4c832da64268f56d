package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/atmost-dev/atmost"
	"github.com/atmost-dev/atmost/store/sealed"
)

// How keys are stored.
const (
	storePlain  = "plain"
	storeDigest = "digest"
)

// hidden complains about settings of what is hidden in the store that do not go together.
func (l *loader) hidden() {
	digests := l.config.StoreKeys == storeDigest
	switch {
	case digests && l.config.StoreKeysFile == "":
		l.about("store_keys", "digest needs a secret; name its file by store_keys_file")
	case !digests && l.config.StoreKeysFile != "":
		l.about("store_keys_file", "is of no use with store_keys: %s; set digest, or remove this", l.config.StoreKeys)
	}
}

// hide returns the store as the engine is to use it: what the configuration wants to be hidden in it is. It wraps also a store in which
// nothing is to be, as that could have been begun otherwise.
func (p *program) hide(ctx context.Context) (atmost.Store, error) {
	var o sealed.Options
	if file := p.config.EncryptionKeyFile; file != "" {
		keys, err := sealed.ReadKeys(file)
		if err != nil {
			return nil, fmt.Errorf("encryption_key_file: %w", err)
		}
		p.ring = sealed.NewRing(keys)
		o.Results = p.ring
		p.log.Info("results are encrypted", "keys", keys.IDs())
	}
	if p.config.StoreKeys == storeDigest {
		keys, err := sealed.ReadKeys(p.config.StoreKeysFile)
		if err == nil {
			o.Names, err = sealed.NewNames(keys)
		}
		if err != nil {
			return nil, fmt.Errorf("store_keys_file: %w", err)
		}
		p.log.Info("keys are stored as digests")
	}
	hidden, err := sealed.Open(ctx, p.store, o)
	if err != nil {
		return nil, fmt.Errorf("the store %s cannot be used: %w", shownStore(p.config.Store), oneLine{err})
	}
	return hidden, nil
}

// named has operators name a record by the digest of its key, which is what they are shown where digests are stored.
func named(admin http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin.ServeHTTP(w, r.WithContext(sealed.ByDigest(r.Context())))
	})
}

// renewKeys reads the encryption keys again. If anything is wrong with them those from before stay.
func (p *program) renewKeys() {
	if p.ring == nil {
		return
	}
	keys, err := sealed.ReadKeys(p.config.EncryptionKeyFile)
	var gone []string
	if err == nil {
		gone, err = p.ring.Set(keys)
	}
	if err != nil {
		p.log.Error("the encryption keys were not replaced, those from before stay in use", "error", err)
		return
	}
	p.log.Info("the encryption keys were read again", "keys", keys.IDs())
	if len(gone) > 0 {
		p.log.Warn("encryption keys are gone from the file: results that they encrypted cannot be opened until they are back", "gone", gone)
	}
}
