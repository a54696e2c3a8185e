"""What runs a release in a cluster: Kubernetes manifests, and the image that pods pull with."""
