package server

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// No handler is known to meet an error without a code. If one does, its text is for the log only.
func TestErrorWithoutCode(t *testing.T) {
	var log bytes.Buffer
	h := routes(slog.New(slog.NewTextHandler(&log, nil)), map[string]http.HandlerFunc{"GET /x": func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, errors.New("a secret cause"))
	}})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	if w.Code != http.StatusInternalServerError || !strings.HasPrefix(w.Body.String(), `{"error":{"code":"INTERNAL",`) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the answer is %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "a secret cause") || !strings.Contains(log.String(), w.Header().Get("Request-Id")) {
		t.Errorf("the log is %s", &log)
	}
}
