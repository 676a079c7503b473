package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// webhook posts JSON to a URL. The URL is a secret: who knows it can post.
type webhook struct {
	label  string
	url    string
	body   func(message) any
	hide   func(error) error
	client *http.Client
}

func newWebhook(label, url string, body func(message) any, hide func(error) error) *webhook {
	return &webhook{
		label: label, url: url, body: body, hide: hide,
		client: &http.Client{
			// Alerts are rare; a connection that is kept would be stale.
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			// A redirect is a wrong URL, and might carry the alert to somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// genericBody is the message with everything that a program may want to know.
func genericBody(m message) any { return m }

// slackBody is what Slack's incoming webhooks take
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/).
func slackBody(m message) any {
	return struct {
		Text string `json:"text"`
	}{"*" + escapeSlack(m.Title) + "*\n" + escapeSlack(m.Text)}
}

// escapeSlack keeps a text from being read as Slack's markup for links and mentions.
func escapeSlack(s string) string {
	var b bytes.Buffer
	for _, r := range s {
		switch r {
		case '&':
			b.WriteString("&amp;")
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (w *webhook) name() string { return w.label }

// send posts m; any answer but 2xx is an error.
func (w *webhook) send(ctx context.Context, m message) error {
	body, err := json.Marshal(w.body(m))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return w.hide(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "buoy")
	resp, err := w.client.Do(req)
	if err != nil {
		return w.hide(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	if resp.StatusCode/100 != 2 {
		return w.hide(fmt.Errorf("%s answered %s: %q", w.label, resp.Status, said))
	}
	return nil
}
