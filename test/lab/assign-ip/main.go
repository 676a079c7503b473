// Command assign-ip does what the small program of the set-ups that buoy replaces does,
// run by keepalived's notify_master: one request to move the address to this droplet, no
// retry, and nobody looks afterwards.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: assign-ip CA_FILE TOKEN_FILE IP DROPLET_ID")
		os.Exit(2)
	}
	if err := assign(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "assign-ip:", err)
		os.Exit(1)
	}
}

func assign(caFile, tokenFile, ip, droplet string) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"type":"assign","droplet_id":%s}`, droplet)
	url := fmt.Sprintf("https://10.114.0.1/v2/floating_ips/%s/actions", ip)
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("API error: %s", resp.Status)
	}
	return nil
}
