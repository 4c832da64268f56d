package pgstore

import (
	"errors"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// hidden stands for a password.
const hidden = "xxxxx"

// Redacted is a database's URL without its passwords, for people to see. Of one whose parts cannot be told apart, as a password's
// special characters were not escaped, only the scheme is left.
func Redacted(database string) string {
	scheme, rest, ok := strings.Cut(database, "://")
	if !ok {
		return hidden
	}
	head, query, asks := strings.Cut(rest, "?")
	authority, path, deep := strings.Cut(head, "/")
	user, hosts, named := strings.Cut(authority, "@")
	if strings.Contains(hosts+path+query, "@") {
		return scheme + "://" + hidden
	}
	if name, _, secret := strings.Cut(user, ":"); named && secret {
		authority = name + ":" + hidden + "@" + hosts
	}
	shown := scheme + "://" + authority
	if deep {
		shown += "/" + path
	}
	if asks {
		shown += "?" + redactedQuery(query)
	}
	return shown
}

func redactedQuery(query string) string {
	if strings.Contains(query, ";") {
		return hidden // it may be meant to separate, too
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, _, valued := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); valued && (err != nil || strings.Contains(strings.ToLower(plain), "password")) {
			pairs[i] = name + "=" + hidden
		}
	}
	return strings.Join(pairs, "&")
}

// CheckURL tells what is wrong with a database's URL, without its passwords. It connects to nothing.
func CheckURL(database string) error {
	if strings.HasSuffix(Redacted(database), "://"+hidden) {
		return errUnreadable
	}
	if _, err := pgxpool.ParseConfig(database); err == nil {
		return nil
	}
	if _, err := pgxpool.ParseConfig(Redacted(database)); err != nil {
		return err
	}
	return errUnreadable
}

// errUnreadable is about a URL of which nobody can tell what its password is.
var errUnreadable = errors.New("its user or password cannot be read; write characters that are neither letters nor digits as % and two hexadecimal digits, @ for one as %40")
