// Package cloudhttp sends HTTP requests to a cloud's API, those that change something only while
// the caller's right to write holds.
//
// It is what the providers share that speak HTTP through an SDK: the [Permit], checked inside
// net.Conn.Write; the [Transport], which asks it and bounds what comes back; the [TokenFile], read
// again whenever it changes. It knows no API.
package cloudhttp
