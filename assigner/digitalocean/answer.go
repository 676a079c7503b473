package digitalocean

import (
	"errors"
	"net/http"
	"strings"
)

// Refusal returns what the API said when err is its answer, and a status of 0 when it is
// something else. The id is the one that goes with the status ("unprocessable_entity"); godo
// keeps the answer's own to itself.
func Refusal(err error) (status int, id, message string) {
	var e *apiError
	if !errors.As(err, &e) {
		return 0, "", ""
	}
	id = "server_error"
	if e.status != http.StatusInternalServerError {
		id = strings.ReplaceAll(strings.ToLower(http.StatusText(e.status)), " ", "_")
	}
	return e.status, id, e.message
}
