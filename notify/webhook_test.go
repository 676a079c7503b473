package notify

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// request is what a webhook got.
type request struct {
	method, uri, contentType string
	body                     map[string]any
}

// hookServer answers every request with status and text, and hands it on.
func hookServer(t *testing.T, status int, text string) (*httptest.Server, chan request) {
	t.Helper()
	got := make(chan request, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		in := request{method: r.Method, uri: r.RequestURI, contentType: r.Header.Get("Content-Type")}
		if err == nil {
			err = json.Unmarshal(data, &in.body)
		}
		if err != nil {
			t.Errorf("%v: %s", err, data)
		}
		got <- in
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s, got
}

func TestGenericWebhook(t *testing.T) {
	s, got := hookServer(t, 204, "")
	to, err := parse("generic+" + s.URL + "/alert/tokentoken?key=hushhush")
	if err != nil {
		t.Fatal(err)
	}
	if err := to.send(t.Context(), testMessage); err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.method != "POST" || r.uri != "/alert/tokentoken?key=hushhush" || r.contentType != "application/json" {
		t.Errorf("got %+v", r)
	}
	for key, want := range map[string]any{
		"title": "buoy web: lb1 has taken 203.0.113.10 from lb2", "message": testMessage.Text, "cluster": "web", "node": "lb1",
		"kind": "moved", "subject": "203.0.113.10", "from": "lb2", "over": false, "reason": testMessage.Reason, "state": nil,
		"term": 7.0, "leader": "lb1", "since": "2026-11-26T12:00:00Z", "at": "2026-11-26T12:00:00Z", "times": 1.0,
	} {
		if r.body[key] != want {
			t.Errorf("%s is %v, want %v", key, r.body[key], want)
		}
	}
}

// toServer sends every request to a test server instead of to the real host.
type toServer struct {
	*httptest.Server
	asked chan string
}

func (s toServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked <- r.URL.String()
	r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(s.URL, "http://")
	return http.DefaultTransport.RoundTrip(r)
}

func TestSlack(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for _, url := range []string{"slack://T0ABCDEFG/B0ABCDEFG/abcdEFGH0123456789abcdef", "slack://hook:T0ABCDEFG-B0ABCDEFG-abcdEFGH0123456789abcdef@webhook"} {
		s, got := hookServer(t, 200, "ok")
		to, err := parse(url)
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan string, 1)
		to.(*webhook).client.Transport = toServer{s, asked}
		m := testMessage
		m.Title += " <!channel> & co"
		if err := to.send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if u := <-asked; u != "https://hooks.slack.com/services/T0ABCDEFG/B0ABCDEFG/abcdEFGH0123456789abcdef" {
			t.Errorf("asked %s", u)
		}
		want := "*buoy web: lb1 has taken 203.0.113.10 from lb2 &lt;!channel&gt; &amp; co*\n" + testMessage.Text
		if r := <-got; len(r.body) != 1 || r.body["text"] != want {
			t.Errorf("got %+v", r)
		}
	}
}

// Whatever goes wrong, the URL is not in the error: who reads it in a log could post.
func TestWebhookErrorsHoldNoSecret(t *testing.T) {
	for status, text := range map[int]string{
		403: "bad token tokentoken", 500: "at /alert/tokentoken?key=hushhush", 302: "", 404: "no_service",
	} {
		s, got := hookServer(t, status, text)
		to, err := parse("generic+" + s.URL + "/alert/tokentoken?key=hushhush")
		if err != nil {
			t.Fatal(err)
		}
		kept(t, to.send(t.Context(), testMessage), http.StatusText(status))
		<-got
		select {
		case r := <-got:
			t.Errorf("went on to %+v", r)
		default:
		}
		s.Close()
		kept(t, to.send(t.Context(), testMessage), "refused")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		kept(t, to.send(ctx, testMessage), "canceled")
		if name := to.name(); strings.Contains(name, "alert") || !strings.HasPrefix(name, "generic+http://127.0.0.1:") {
			t.Errorf("name %q", name)
		}
	}
}

func kept(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%v: no %q", err, want)
	}
	for _, secret := range []string{"tokentoken", "hush"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the secret is in: %v", err)
		}
	}
}
